/* The least that a supervisor can do: posix_spawn, waitpid, and again.

   respawn COUNT ENGINE [ARGUMENT ...]

   It says "up", waits for a line on its standard input, starts COUNT engines, each in a session of its own,
   and starts another for each that ends. Kills what it started when it is told to end.
*/
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t *pids;
static int count;
static char **command;
static posix_spawnattr_t attributes;
static posix_spawn_file_actions_t files;

static pid_t start(void) {
    static char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t pid;
    if (posix_spawn(&pid, command[0], &files, &attributes, command, environment))
        exit(1);
    return pid;
}

static void leave(int signal) {
    (void)signal;
    for (int one = 0; one < count; one++)
        if (pids[one] > 0)
            kill(pids[one], SIGKILL);
    _exit(0);
}

int main(int words, char **arguments) {
    if (words < 3)
        return 3;
    count = atoi(arguments[1]);
    command = arguments + 2;
    pids = calloc(count, sizeof *pids);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_init(&files);
    for (int file = 0; file < 3; file++)
        posix_spawn_file_actions_addopen(&files, file, "/dev/null", file ? O_WRONLY : O_RDONLY, 0);
    signal(SIGTERM, leave);
    if (write(1, "up\n", 3) != 3 || getchar() == EOF)
        return 4;
    for (int one = 0; one < count; one++)
        pids[one] = start();
    for (;;) {
        pid_t ended = waitpid(-1, NULL, 0);
        for (int one = 0; one < count; one++)
            if (pids[one] == ended)
                pids[one] = start();
    }
}
