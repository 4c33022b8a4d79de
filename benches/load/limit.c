// What the kernel asks of any HTTP server: a bare epoll loop that sends a pre-baked answer for each blank line.
//
//     limit [--status 304|404] [--close] PORT FILE [PORT FILE]...
//
// It parses nothing: whatever is asked for at a port, the answer is that port's FILE, read before the first request.
// Files below 100 KiB are sent from memory, and all answers to one recv in one send; larger ones by send(MSG_MORE) and
// sendfile. What a real server adds to these calls is its own; that is why the bench divides by this program's figure.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// What docroot sends with every answer that has content.
#define POLICY "X-Content-Type-Options: nosniff\r\nReferrer-Policy: strict-origin-when-cross-origin\r\n"

enum { PORTS = 4, EVENTS = 512, HEAD = 1024, FROM_MEMORY_BELOW = 100 * 1024, RUN = 128 * 1024 };

// What one port says, over and over.
struct answer {
    char *run;        // as many whole answers as fit in RUN bytes, one behind the other; of a large file, its head
    size_t run_bytes;
    size_t bytes;     // one answer, head and content
    size_t head;
    int file;         // sent by sendfile, or -1: all is in `run`
    int listener;
};

// One connection, by its descriptor. Its place in the sequence of answers follows from what is owed.
struct peer {
    size_t owed;      // bytes of answers not yet sent
    uint32_t line;    // bytes of the line that has begun to arrive
    uint32_t answer;  // the port it came by
};

static struct answer answers[PORTS];
static struct peer *peers;
static bool closes;

static void die(const char *what) {
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    exit(1);
}

// A line feed behind nothing but a carriage return; the two may come in different calls.
static size_t blank_lines(struct peer *peer, const char *at, size_t bytes) {
    const char *end = at + bytes;
    size_t found = 0;
    for (const char *feed; (feed = memchr(at, '\n', end - at)); at = feed + 1) {
        found += peer->line + (feed - at) == 1;
        peer->line = 0;
    }
    peer->line += end - at;
    return found;
}

// Sends what is owed until it has left (true) or the socket is full; false also when the peer is gone.
static bool give(int socket, struct peer *peer) {
    const struct answer *answer = &answers[peer->answer];
    while (peer->owed > 0) {
        size_t left = (peer->owed - 1) % answer->bytes + 1;
        size_t sent = answer->bytes - left;
        ssize_t moved;
        if (answer->file < 0) {
            size_t ready = answer->run_bytes - sent;
            moved = send(socket, answer->run + sent, ready < peer->owed ? ready : peer->owed, 0);
        } else if (sent < answer->head) {
            moved = send(socket, answer->run + sent, answer->head - sent, MSG_MORE);
        } else {
            off_t from = sent - answer->head;
            moved = sendfile(socket, answer->file, &from, left);
        }
        if (moved <= 0)
            return false;
        peer->owed -= moved;
    }
    return true;
}

// Reads and answers until the socket is empty or full; false when the connection is over.
static bool serve(int socket, bool hung_up) {
    static char input[64 * 1024];
    struct peer *peer = &peers[socket];
    if (!give(socket, peer))
        return errno == EAGAIN;
    for (;;) {
        ssize_t got = recv(socket, input, sizeof input, 0);
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        size_t requests = blank_lines(peer, input, got);
        peer->owed += requests * answers[peer->answer].bytes;
        if (!give(socket, peer))
            return errno == EAGAIN;
        if (closes && requests > 0)
            return false;
        // A short read has emptied the socket (epoll(7)); only an end of input may be behind it.
        if ((size_t)got < sizeof input && !hung_up)
            return true;
    }
}

static void accept_all(int poll, uint32_t port) {
    int socket;
    while ((socket = accept4(answers[port].listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        peers[socket] = (struct peer){.answer = port};
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = PORTS + socket};
        // Read before it is registered: who is answered and closed at once never enters the poll.
        if (!serve(socket, false) || epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event) < 0)
            close(socket);
    }
}

static size_t bake_head(char *head, const char *status, const struct stat *file) {
    char now[64], changed[64];
    time_t clock = time(NULL);
    const char *form = "%a, %d %b %Y %H:%M:%S GMT";
    strftime(now, sizeof now, form, gmtime(&clock));
    strftime(changed, sizeof changed, form, gmtime(&file->st_mtime));
    const char *tag = "\"445dcf97d7880d62fc56a7ce85b3164a\"";
    if (!strcmp(status, "304"))
        return snprintf(head, HEAD,
            "HTTP/1.1 304 Not Modified\r\nDate: %s\r\nCache-Control: no-cache\r\nETag: %s\r\n\r\n", now, tag);
    if (!strcmp(status, "404"))
        return snprintf(head, HEAD,
            "HTTP/1.1 404 Not Found\r\nDate: %s\r\nCache-Control: no-store\r\nContent-Type: text/html; charset=utf-8\r\n"
            POLICY "Content-Length: %lld\r\n\r\n", now, (long long)file->st_size);
    return snprintf(head, HEAD,
        "HTTP/1.1 200 OK\r\nDate: %s\r\n%sCache-Control: no-cache\r\nETag: %s\r\nContent-Type: text/html; charset=utf-8\r\n"
        POLICY "Last-Modified: %s\r\nAccept-Ranges: bytes\r\nContent-Length: %lld\r\n\r\n",
        now, closes ? "Connection: close\r\n" : "", tag, changed, (long long)file->st_size);
}

static void bake(struct answer *answer, const char *path, const char *status) {
    struct stat about;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &about) < 0)
        die(path);
    char head[HEAD];
    size_t content = strcmp(status, "304") ? about.st_size : 0;
    answer->head = bake_head(head, status, &about);
    answer->bytes = answer->head + content;
    answer->file = content < FROM_MEMORY_BELOW ? -1 : file;
    size_t copied = answer->file < 0 ? answer->bytes : answer->head;
    size_t copies = answer->file < 0 ? RUN / copied : 1;
    answer->run_bytes = copies * copied;
    answer->run = malloc(answer->run_bytes);
    if (!answer->run)
        die("memory");
    memcpy(answer->run, head, answer->head);
    if (answer->file < 0 && pread(file, answer->run + answer->head, content, 0) != (ssize_t)content)
        die(path);
    for (size_t copy = 1; copy < copies; copy++)
        memcpy(answer->run + copy * copied, answer->run, copied);
}

static int listen_at(const char *port) {
    int on = 1, socket_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {AF_INET, htons(atoi(port)), {htonl(INADDR_LOOPBACK)}, {0}};
    // What the listener is told, all that it accepts inherit.
    setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(socket_, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on);
    if (bind(socket_, (struct sockaddr *)&here, sizeof here) < 0 || listen(socket_, 4096) < 0)
        die(port);
    return socket_;
}

int main(int argc, char **argv) {
    const char *status = "200";
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (!strcmp(argv[at], "--close"))
            closes = true;
        else if (!strcmp(argv[at], "--status") && at + 1 < argc)
            status = argv[++at];
    }
    if (at >= argc || (argc - at) % 2 || (argc - at) / 2 > PORTS) {
        fprintf(stderr, "usage: limit [--status 304|404] [--close] PORT FILE [PORT FILE]...\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN); // (sendfile has no MSG_NOSIGNAL)
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    peers = calloc(files.rlim_cur, sizeof *peers);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (!peers || poll < 0)
        die("start");
    for (uint32_t port = 0; at < argc; at += 2, port++) {
        bake(&answers[port], argv[at + 1], status);
        answers[port].listener = listen_at(argv[at]);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = port};
        epoll_ctl(poll, EPOLL_CTL_ADD, answers[port].listener, &event);
    }

    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            uint32_t key = events[i].data.u32;
            if (key < PORTS)
                accept_all(poll, key);
            else if (!serve(key - PORTS, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
                close(key - PORTS);
        }
    }
}
