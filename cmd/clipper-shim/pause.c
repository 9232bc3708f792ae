// The init of a pod's shared PID namespace. It reaps what is orphaned there and ends on SIGTERM or SIGINT. It is
// C, run before the Go runtime would start, so that it costs a few pages and one thread.
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void pause_init(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (;;) {
		int sig = 0;
		if (sigwait(&set, &sig) != 0)
			_exit(1);
		if (sig != SIGCHLD)
			_exit(0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

__attribute__((constructor)) static void maybe_pause(int argc, char **argv) {
	if (argc == 2 && strcmp(argv[1], "pause") == 0)
		pause_init();
}
