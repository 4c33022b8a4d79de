// The clients that wrk cannot play: who waits, who reads slowly, who takes one large file, who knocks first.
//
//     peers first  PORT PATH                  asks until there is an answer, for 10 seconds; prints its head
//     peers start  PORT PATH CORE COMMAND...  starts a server on CORE; prints milliseconds to its first answer; ends it
//     peers stream PORT PATH SECONDS          takes PATH again and again; prints the bytes of content
//     peers idle   PORT PATH COUNT            has COUNT connections answered once each, prints `ready`, keeps them
//     peers slow   PORT PATH COUNT            has COUNT connections ask for PATH with a small receive buffer, prints
//                                             `ready`, then reads 4 KiB a second from each
//
// All of it on 127.0.0.1. The last two stay until they are killed, and complain when the server hangs up on them.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 * 1024, SMALL = 4096, PATIENCE_S = 10 };

static void die(const char *what) {
    fprintf(stderr, "peers: %s: %s\n", what, errno ? strerror(errno) : "not what was expected");
    exit(1);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void rest(double time) {
    struct timespec left = {(time_t)time, (long)((time - (time_t)time) * 1e9)};
    nanosleep(&left, NULL);
}

// A connection, or -1; `receive` bounds its receive buffer in bytes, 0 leaves it alone.
static int dial(int port, int receive) {
    struct sockaddr_in there = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    struct timeval patience = {PATIENCE_S, 0};
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer < 0)
        die("socket");
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (receive > 0)
        setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    if (connect(peer, (struct sockaddr *)&there, sizeof there) == 0)
        return peer;
    close(peer);
    return -1;
}

static bool ask(int peer, const char *path) {
    char request[512];
    int bytes = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    return send(peer, request, bytes, MSG_NOSIGNAL) == bytes;
}

// Reads one answer to its end, leaving its head, with a NUL, in `head`; its bytes of content, or -1.
static long long hear(int peer, char head[HEAD]) {
    static char scrap[256 * 1024];
    size_t got = 0;
    char *end;
    do {
        ssize_t more = recv(peer, head + got, HEAD - 1 - got, 0);
        if (more <= 0)
            return -1;
        got += more;
        head[got] = 0;
    } while (!(end = strstr(head, "\r\n\r\n")));
    size_t content_so_far = head + got - (end + 4);
    end[2] = 0;
    const char *length = strcasestr(head, "\r\nContent-Length:");
    long long content = length ? atoll(length + strlen("\r\nContent-Length:")) : 0;
    for (long long left = content - content_so_far; left > 0;) {
        ssize_t more = recv(peer, scrap, left < (long long)sizeof scrap ? left : (long long)sizeof scrap, 0);
        if (more <= 0)
            return -1;
        left -= more;
    }
    return content;
}

// Asks anew every `pause` seconds until somebody answers.
static void knock(int port, const char *path, double pause, char head[HEAD]) {
    for (double until = seconds() + PATIENCE_S; seconds() < until; rest(pause)) {
        int peer = dial(port, 0);
        if (peer < 0)
            continue;
        bool answered = ask(peer, path) && hear(peer, head) >= 0;
        close(peer);
        if (answered)
            return;
    }
    errno = ETIMEDOUT;
    die("nobody answers");
}

static void first(int port, const char *path) {
    char head[HEAD];
    knock(port, path, 0.01, head);
    fputs(head, stdout);
}

static void start(int port, const char *path, int core, char **command) {
    char head[HEAD];
    double from = seconds();
    pid_t server = fork();
    if (server < 0)
        die("fork");
    if (server == 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(core, &cores);
        sched_setaffinity(0, sizeof cores, &cores);
        dup2(STDERR_FILENO, STDOUT_FILENO); // (standard output is for the figure)
        execvp(command[0], command);
        die(command[0]);
    }
    knock(port, path, 0.00005, head);
    printf("%.2f\n", (seconds() - from) * 1000);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
}

static void stream(int port, const char *path, double time) {
    char head[HEAD];
    long long bytes = 0;
    int peer = dial(port, 0);
    if (peer < 0)
        die("connect");
    for (double until = seconds() + time; seconds() < until;) {
        long long content = ask(peer, path) ? hear(peer, head) : -1;
        if (content <= 0 || strncmp(head, "HTTP/1.1 200 ", 13))
            die("stream");
        bytes += content;
    }
    printf("%lld\n", bytes);
}

static void idle(int port, const char *path, int count) {
    char head[HEAD], byte;
    int *crowd = calloc(count, sizeof *crowd);
    for (int i = 0; i < count; i++) {
        crowd[i] = dial(port, 0);
        if (crowd[i] < 0 || !ask(crowd[i], path) || hear(crowd[i], head) < 0)
            die("idle");
    }
    printf("ready\n");
    fflush(stdout);
    for (;; rest(0.5)) {
        int gone = 0;
        for (int i = 0; i < count; i++)
            gone += recv(crowd[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
        if (gone > 0) {
            fprintf(stderr, "peers: %d of %d idle connections were hung up on\n", gone, count);
            exit(1);
        }
    }
}

static void slow(int port, const char *path, int count) {
    static char scrap[SMALL];
    int *crowd = calloc(count, sizeof *crowd);
    for (int i = 0; i < count; i++) {
        crowd[i] = dial(port, SMALL);
        if (crowd[i] < 0 || !ask(crowd[i], path))
            die("slow");
    }
    rest(1); // (until the server has filled what it may)
    printf("ready\n");
    fflush(stdout);
    for (int i = 0;; i = (i + 1) % count) {
        if (recv(crowd[i], scrap, sizeof scrap, MSG_DONTWAIT) == 0) {
            fprintf(stderr, "peers: a slow reader was hung up on\n");
            exit(1);
        }
        rest(1.0 / count);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: peers first|start|stream|idle|slow PORT PATH ...\n");
        return 2;
    }
    const char *mode = argv[1], *path = argv[3];
    int port = atoi(argv[2]);
    if (!strcmp(mode, "first") && argc == 4)
        first(port, path);
    else if (!strcmp(mode, "start") && argc > 5)
        start(port, path, atoi(argv[4]), argv + 5);
    else if (!strcmp(mode, "stream") && argc == 5)
        stream(port, path, atof(argv[4]));
    else if (!strcmp(mode, "idle") && argc == 5)
        idle(port, path, atoi(argv[4]));
    else if (!strcmp(mode, "slow") && argc == 5)
        slow(port, path, atoi(argv[4]));
    else
        die(mode);
}
