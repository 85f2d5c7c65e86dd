"""`vllm bench serve` where no `vllm` command can be had: run by the interpreter that has vLLM, with its arguments.

The command looks for a distribution named `vllm`, and the one for the CPU has another name. This calls the same
functions with the same options.
"""

import argparse

from vllm.benchmarks.serve import add_cli_args, main

parser = argparse.ArgumentParser(prog="vllm bench serve")
add_cli_args(parser)
main(parser.parse_args())
