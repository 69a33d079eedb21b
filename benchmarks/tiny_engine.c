/* The engine of the restart and idle benchmarks: it says when it was executed, takes connections, and waits.

   tiny_engine FIFO PORT [MODE]

   One line into the FIFO, before anything else: its pid, and nanoseconds on CLOCK_MONOTONIC. Port 0, any free
   one, is for supervisors that hand out none. Without a mode it never answers. With one it answers the first
   request, so that it counts as ready, and then: "well" each of them, "slow" after a second, "hung" none,
   "refusing" none either, as it listens no more. It ends by itself in the end, should everybody forget it.
*/
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LIFE_SECONDS = 300 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

static void announce(const char *path) {
    struct timespec now;
    char line[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%d %lld\n", getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
    int fifo = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fifo < 0 || write(fifo, line, length) != length)
        exit(1);
    close(fifo);
}

static int listening(int port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in where = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&where, sizeof where) || listen(listener, 16))
        exit(2);
    return listener;
}

static void answer_one(int listener, int seconds) {
    char request[4096];
    int client = accept(listener, NULL, NULL);
    if (client < 0)
        return;
    if (read(client, request, sizeof request) > 0) {
        sleep(seconds);
        if (write(client, answer, sizeof answer - 1) < 0)
            exit(4);
    }
    close(client);
}

static void serve(int listener, const char *mode) {
    answer_one(listener, 0);
    if (!strcmp(mode, "refusing"))
        close(listener);
    else if (strcmp(mode, "hung"))
        for (;;)
            answer_one(listener, !strcmp(mode, "slow"));
}

int main(int count, char **arguments) {
    if (count < 3)
        return 3;
    announce(arguments[1]);
    int listener = listening(atoi(arguments[2]));
    alarm(LIFE_SECONDS);
    if (count > 3)
        serve(listener, arguments[3]);
    for (;;)
        pause();
}
