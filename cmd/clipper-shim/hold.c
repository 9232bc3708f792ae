// The keeper of descriptors that must not close with the shim: when the last one of a terminal's master side does,
// the terminal hangs up, and its processes die of it; a container's stdin comes to its end. So copies live in this
// process, which outlives the shim. It is C, run before the
// Go runtime would start, so that it costs a few pages and one thread; it is its own session's, and init's, child.
//
//	clipper-shim hold      descriptor 3 is a listening socket of type SOCK_SEQPACKET
//
// A request is a letter and an identifier: P puts the descriptor that comes with it, G gets one, D drops one. The
// answer is K, with the descriptor for a G, or N if there is none. It ends when it holds nothing and nobody is
// connected.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { listener = 3, max_clients = 8, max_id = 200 };

static struct held {
	struct held *next;
	int fd;
	char id[max_id + 1];
} *all;

static struct held **find(const char *id) {
	struct held **at = &all;

	while (*at && strcmp((*at)->id, id) != 0)
		at = &(*at)->next;
	return at;
}

static int drop(const char *id) {
	struct held **at = find(id), *gone = *at;

	if (!gone)
		return 0;
	*at = gone->next;
	close(gone->fd);
	free(gone);
	return 1;
}

static int put(const char *id, int fd) {
	struct held *new;

	if (fd < 0)
		return 0;
	drop(id);
	new = malloc(sizeof *new);
	if (!new) {
		close(fd);
		return 0;
	}
	strcpy(new->id, id);
	new->fd = fd;
	new->next = all;
	all = new;
	return 1;
}

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int))];
};

static int passed(struct msghdr *msg) {
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fd;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fd))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

static void answer(int client, int ok, int fd) {
	union control control = {0};
	char said = ok ? 'K' : 'N';
	struct iovec data = {&said, 1};
	struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof control;
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
	}
	sendmsg(client, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// serve answers one request and reports whether the client is still there.
static int serve(int client) {
	union control control;
	char request[1 + max_id + 1];
	struct iovec data = {request, sizeof request - 1};
	struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct held *found;
	ssize_t n = recvmsg(client, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int fd;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n <= 0)
		return 0;
	request[n] = 0;
	fd = passed(&msg);
	if (fd >= 0 && (request[0] != 'P' || n < 2)) {
		close(fd);
		fd = -1;
	}
	switch (n < 2 ? 0 : request[0]) {
	case 'P':
		answer(client, put(request + 1, fd), -1);
		break;
	case 'G':
		found = *find(request + 1);
		answer(client, found != NULL, found ? found->fd : -1);
		break;
	case 'D':
		answer(client, drop(request + 1), -1);
		break;
	default:
		answer(client, 0, -1);
	}
	return 1;
}

static void hold(void) {
	struct pollfd fds[1 + max_clients] = {{.fd = listener}};
	int n = 1, fd, i, ready;

	do {
		do {
			fds[0].events = n <= max_clients ? POLLIN : 0;
			// Whoever has started us connects at once, or has died.
			ready = poll(fds, n, n == 1 && !all ? 10000 : -1);
		} while (ready < 0);
		for (i = n - 1; i > 0; i--)
			if (fds[i].revents && !serve(fds[i].fd)) {
				close(fds[i].fd);
				fds[i] = fds[--n];
			}
		if (fds[0].revents && (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
	} while (n > 1 || all);
	_exit(0);
}

__attribute__((constructor)) static void maybe_hold(int argc, char **argv) {
	pid_t child;

	if (argc != 2 || strcmp(argv[1], "hold") != 0)
		return;
	child = fork();
	if (child != 0)
		_exit(child < 0);
	setsid();
	signal(SIGHUP, SIG_IGN);
	hold();
}
