//go:build seccomp

// Compiling a seccomp filter takes libseccomp some 7 ms, the same for every container with the same profile, and for
// every process that is exec'd in one. So the shim has it compiled once: these functions stand in for three of
// libseccomp's (by the linker's --wrap), for the calls that libcontainer makes.
//
//	clipper-shim compile-filter   the compiled program goes to stdout too, after what is there already
//	clipper-shim init             if descriptor 3 is a sealed memory file with our mark, it is the program:
//	                              rules are not added, and it is what is exported to libcontainer
//
// In every other process, and without that file, libseccomp works as ever.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <string.h>
#include <unistd.h>

#include "filter.h"

enum { program_fd = 3, output_fd = 1 };

static enum { libseccomp_only, compile, init } mode;

__attribute__((constructor)) static void choose_mode(int argc, char **argv) {
	if (argc == 2 && strcmp(argv[1], "compile-filter") == 0)
		mode = compile;
	else if (argc == 2 && strcmp(argv[1], "init") == 0)
		mode = init;
}

// have_program looks at every call: it is cheap, and nothing has to be remembered. Only the shim can have put a
// file there that nobody can write to.
static int have_program(void) {
	char mark[sizeof FILTER_MARK - 1];
	int seals;

	if (mode != init)
		return 0;
	seals = fcntl(program_fd, F_GET_SEALS);
	if (seals < 0 || (seals & (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)) != (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK))
		return 0;
	return pread(program_fd, mark, sizeof mark, 0) == sizeof mark && memcmp(mark, FILTER_MARK, sizeof mark) == 0;
}

static int copy_program(int to) {
	char buf[4096];
	off_t at = sizeof FILTER_MARK - 1;

	for (;;) {
		ssize_t n = pread(program_fd, buf, sizeof buf, at);
		if (n == 0)
			break;
		if (n < 0)
			return -errno;
		at += n;
		for (char *p = buf; n > 0;) {
			ssize_t m = write(to, p, n);
			if (m < 0 && errno == EINTR)
				continue;
			if (m < 0)
				return -errno;
			p += m;
			n -= m;
		}
	}
	// The container's own program must not find it.
	return fcntl(program_fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int __real_seccomp_rule_add_array(scmp_filter_ctx, uint32_t, int, unsigned int, const struct scmp_arg_cmp *);
int __real_seccomp_rule_add_exact_array(scmp_filter_ctx, uint32_t, int, unsigned int, const struct scmp_arg_cmp *);
int __real_seccomp_export_bpf(const scmp_filter_ctx, int);

int __wrap_seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int call, unsigned int n, const struct scmp_arg_cmp *args) {
	return have_program() ? 0 : __real_seccomp_rule_add_array(ctx, action, call, n, args);
}

int __wrap_seccomp_rule_add_exact_array(scmp_filter_ctx ctx, uint32_t action, int call, unsigned int n, const struct scmp_arg_cmp *args) {
	return have_program() ? 0 : __real_seccomp_rule_add_exact_array(ctx, action, call, n, args);
}

int __wrap_seccomp_export_bpf(const scmp_filter_ctx ctx, int fd) {
	if (have_program())
		return copy_program(fd);
	if (mode == compile) {
		int err = __real_seccomp_export_bpf(ctx, output_fd);
		if (err < 0)
			return err;
	}
	return __real_seccomp_export_bpf(ctx, fd);
}
