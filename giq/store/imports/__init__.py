"""Result files of other load tools, read as load points: each metric keeps its meaning, what is lacking is null."""
