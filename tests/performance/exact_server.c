/* An exact streaming server: a completion's first token after FIRST ms, then one every GAP ms, on time.
 *
 * usage: exact_server PORT FIRST_MS GAP_MS [LOG]
 *
 * Answers what load tools ask of a vLLM server: POST /v1/completions (streamed, `max_tokens` tokens; usage at the end
 * or in every chunk, as asked), GET /v1/models, /version, /health, and /metrics with vLLM's names. One thread, epoll, a
 * heap of due times. On SIGTERM it prints its own lateness as JSON and ends; LOG then gets three native int64 for each
 * answered request: when it was received (whole), when its last byte was handed to the socket (both ns, monotonic),
 * and its tokens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 65536
#define LATE_BUCKETS 1000 /* of 100 us each */

struct connection {
    char *request; /* what came of the request, ended by a zero */
    size_t have, room, need;
    int tokens, sent, prompt;
    int usage, each, close; /* usage is asked for, in each chunk; no request follows on this connection */
    int64_t received, due;
    int place; /* in the heap, -1 when not in it */
};

static struct connection connections[MAX_CONNECTIONS];
static int heap[MAX_CONNECTIONS], waiting;
static int64_t first_ns, gap_ns;
static uint64_t late[LATE_BUCKETS + 1], events, worst;
static uint64_t finished, prompt_tokens, generated;
static int64_t (*answered)[3];
static uint64_t answered_room;
static volatile sig_atomic_t stopping;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put(int at, int fd) {
    heap[at] = fd;
    connections[fd].place = at;
}

static void sift_up(int at) {
    int fd = heap[at];
    while (at > 0 && connections[heap[(at - 1) / 2]].due > connections[fd].due) {
        put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(at, fd);
}

static void sift_down(int at) {
    int fd = heap[at];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= waiting) break;
        if (child + 1 < waiting && connections[heap[child + 1]].due < connections[heap[child]].due) child++;
        if (connections[heap[child]].due >= connections[fd].due) break;
        put(at, heap[child]);
        at = child;
    }
    put(at, fd);
}

static void remove_due(int fd) {
    int at = connections[fd].place;
    if (at < 0) return;
    connections[fd].place = -1;
    int last = heap[--waiting];
    if (at == waiting) return;
    put(at, last);
    sift_up(at);
    sift_down(connections[last].place);
}

static void drop(int fd) {
    remove_due(fd);
    free(connections[fd].request);
    memset(&connections[fd], 0, sizeof connections[fd]);
    connections[fd].place = -1;
    close(fd);
}

static void send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) continue; /* the client is slow: wait for it, this is a benchmark */
        if (sent < 0) return;
        data += sent;
        size -= sent;
    }
}

static int chunk(char *out, const char *body, int size) {
    return sprintf(out, "%x\r\n%.*s\r\n", size, size, body);
}

static void note_lateness(int64_t lateness) {
    uint64_t bucket = lateness / 100000;
    late[bucket < LATE_BUCKETS ? bucket : LATE_BUCKETS]++;
    if ((uint64_t)lateness > worst) worst = lateness;
    events++;
}

static void note_answer(struct connection *c) {
    if (finished == answered_room) answered = realloc(answered, (answered_room += 65536) * sizeof *answered);
    answered[finished][0] = c->received;
    answered[finished][1] = now_ns();
    answered[finished][2] = c->sent;
    finished++;
    prompt_tokens += c->prompt;
}

/* One event of the stream: a token, or (with `choices` empty) the usage at the end. */
static int event(char *out, struct connection *c, const char *choices, int with_usage) {
    static char body[1024];
    int size = sprintf(body,
        "data: {\"id\":\"cmpl-b84c91d346920261\",\"object\":\"text_completion\",\"created\":1795266234,"
        "\"model\":\"exact\",\"choices\":[%s]", choices);
    if (with_usage)
        size += sprintf(body + size, ",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":%d}",
                        c->prompt, c->prompt + c->sent, c->sent);
    size += sprintf(body + size, "}\n\n");
    return chunk(out, body, size);
}

static int token(char *out, struct connection *c, int last) {
    static char choice[512];
    sprintf(choice, "{\"index\":0,\"text\":\" hello\",\"logprobs\":null,\"finish_reason\":%s,"
                    "\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":null}",
            last ? "\"length\"" : "null");
    return event(out, c, choice, c->each);
}

static void send_token(int fd) {
    static char out[4096];
    struct connection *c = &connections[fd];
    note_lateness(now_ns() - c->due);
    int length = 0;
    if (c->sent == 0)
        length = sprintf(out, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                              "server: exact\r\ntransfer-encoding: chunked\r\n\r\n");
    c->sent++;
    generated++;
    int last = c->sent >= c->tokens;
    length += token(out + length, c, last);
    c->due += gap_ns;
    if (last) {
        if (c->usage) length += event(out + length, c, "", 1);
        length += chunk(out + length, "data: [DONE]\n\n", 14);
        length += sprintf(out + length, "0\r\n\r\n");
        c->tokens = 0;
    }
    send_all(fd, out, length);
    if (last) {
        note_answer(c);
        if (c->close) shutdown(fd, SHUT_WR);
    }
}

static void answer(int fd, const char *status, const char *kind, const char *body) {
    static char out[4096];
    int length = sprintf(out, "HTTP/1.1 %s\r\nserver: exact\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s", status,
                         kind, strlen(body), body);
    send_all(fd, out, length);
    if (connections[fd].close) shutdown(fd, SHUT_WR);
}

static void send_metrics(int fd) {
    static char body[2048];
    sprintf(body,
        "vllm:num_requests_running{engine=\"0\"} %d.0\nvllm:num_requests_waiting{engine=\"0\"} 0.0\n"
        "vllm:kv_cache_usage_perc{engine=\"0\"} 0.0\n"
        "vllm:request_success_total{engine=\"0\",finished_reason=\"length\"} %lu.0\n"
        "vllm:prompt_tokens_total{engine=\"0\"} %lu.0\nvllm:generation_tokens_total{engine=\"0\"} %lu.0\n",
        waiting, finished, prompt_tokens, generated);
    answer(fd, "200 OK", "text/plain", body);
}

static void get(int fd, const char *path) {
    if (!strncmp(path, "/metrics ", 9))
        send_metrics(fd);
    else if (!strncmp(path, "/v1/models ", 11))
        answer(fd, "200 OK", "application/json",
               "{\"object\":\"list\",\"data\":[{\"id\":\"exact\",\"object\":\"model\",\"owned_by\":\"vllm\","
               "\"root\":\"exact\",\"max_model_len\":4096}]}");
    else if (!strncmp(path, "/version ", 9))
        answer(fd, "200 OK", "application/json", "{\"version\":\"0.32.0\"}");
    else if (!strncmp(path, "/health ", 8))
        answer(fd, "200 OK", "text/plain", "");
    else
        answer(fd, "404 Not Found", "application/json", "{\"detail\":\"Not Found\"}");
}

/* Where the value of a JSON field begins, NULL without one. */
static const char *value_of(const char *request, const char *field) {
    const char *at = strstr(request, field);
    return at ? at + strlen(field) + strspn(at + strlen(field), " ") : NULL;
}

/* The tokens of a prompt: its ids, or of a text its words. */
static int count_prompt(const char *request) {
    const char *at = value_of(request, "\"prompt\":");
    if (!at) return 0;
    char until = *at == '[' ? ']' : '"', between = *at == '[' ? ',' : ' ';
    int count = at[1] != until;
    for (at++; *at && *at != until; at++) count += *at == between;
    return count;
}

static int is_true(const char *value) { return value && !strncmp(value, "true", 4); }

static void complete(int fd) {
    struct connection *c = &connections[fd];
    const char *asked = value_of(c->request, "\"max_tokens\":");
    if (!is_true(value_of(c->request, "\"stream\":"))) {
        answer(fd, "400 Bad Request", "application/json", "{\"error\":{\"message\":\"only streams are answered\"}}");
        return;
    }
    c->tokens = asked ? atoi(asked) : 16;
    c->sent = 0;
    c->usage = is_true(value_of(c->request, "\"include_usage\":"));
    c->each = is_true(value_of(c->request, "\"continuous_usage_stats\":"));
    c->prompt = count_prompt(c->request);
    c->due = c->received + first_ns;
    put(waiting++, fd);
    sift_up(waiting - 1);
}

static void handle(int fd) {
    struct connection *c = &connections[fd];
    const char *end = strstr(c->request, "\r\n\r\n"), *closing = strcasestr(c->request, "\r\nconnection: close");
    c->received = now_ns();
    c->close = closing && closing < end;
    if (!strncmp(c->request, "GET ", 4))
        get(fd, c->request + 4);
    else if (!strncmp(c->request, "POST /v1/completions ", 21))
        complete(fd);
    else
        answer(fd, "404 Not Found", "application/json", "{\"detail\":\"Not Found\"}");
}

static void read_request(int fd) {
    struct connection *c = &connections[fd];
    for (;;) {
        if (c->room - c->have < 65536) {
            c->room = c->have + 131072;
            c->request = realloc(c->request, c->room);
        }
        ssize_t got = recv(fd, c->request + c->have, c->room - c->have - 1, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            drop(fd);
            return;
        }
        c->have += got;
        c->request[c->have] = 0;
        if (!c->need) {
            char *end = strstr(c->request, "\r\n\r\n"), *length = strcasestr(c->request, "content-length:");
            if (end) c->need = end + 4 - c->request + (length && length < end ? atol(length + 15) : 0);
        }
        if (c->need && c->have >= c->need) {
            handle(fd);
            c->have = c->need = 0;
        }
    }
}

static void accept_all(int listener, int poll_fd) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
        if (fd < 0) return;
        if (fd >= MAX_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd].place = -1;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on); /* several of these share a port, a core each */
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void send_due(void) {
    while (waiting && connections[heap[0]].due <= now_ns()) {
        int fd = heap[0];
        send_token(fd);
        if (connections[fd].tokens)
            sift_down(0);
        else
            remove_due(fd);
    }
}

static void serve(int listener) {
    int poll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[512];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    while (!stopping) {
        struct timespec wait = {.tv_nsec = 200000000}, *limit = &wait;
        if (waiting) {
            int64_t left = connections[heap[0]].due - now_ns();
            wait.tv_nsec = left < 0 ? 0 : left > 200000000 ? 200000000 : left;
        }
        int count = epoll_pwait2(poll_fd, ready, 512, limit, NULL);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == listener)
                accept_all(listener, poll_fd);
            else
                read_request(ready[i].data.fd);
        }
        send_due();
    }
}

static double late_ms(double share) {
    uint64_t seen = 0;
    for (int i = 0; i <= LATE_BUCKETS; i++)
        if ((seen += late[i]) >= share * events) return (i + 1) * 0.1;
    return 0;
}

static void write_log(const char *path) {
    FILE *log = fopen(path, "wb");
    if (!log || fwrite(answered, sizeof *answered, finished, log) != finished || fclose(log)) perror(path);
}

static void stop(int signal) {
    (void)signal;
    stopping = 1;
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: %s PORT FIRST_MS GAP_MS [LOG]\n", argv[0]);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    first_ns = atof(argv[2]) * 1e6;
    gap_ns = atof(argv[3]) * 1e6;
    serve(listen_on(atoi(argv[1])));
    if (argc == 5) write_log(argv[4]);
    printf("{\"events\": %lu, \"late_p50_ms\": %.1f, \"late_p99_ms\": %.1f, \"late_max_ms\": %.1f}\n", events,
           late_ms(0.5), late_ms(0.99), worst / 1e6);
    return 0;
}
