package main

import (
	"log"
	"os"
	"path/filepath"
	"strings"
)

// work is the folder in which the contents of the layers are made, each in a folder of its own.
type work string

func (w work) dir(p ...string) string { return filepath.Join(append([]string{string(w)}, p...)...) }

// busybox has directories, users and a resolver configuration; with every applet of Debian's busybox-static it
// stands for both busybox and alpine.
func (w work) busybox() {
	log.Print("rootfs: busybox")
	skeleton(w.dir("busybox"))
	static(w.dir("busybox"), "busybox-static", "bash-static")
	prune(w.dir("busybox"))
	// One spec wants the very words of busybox's shell, another an environment
	// variable that the shell of Debian's version would drop.
	write(w.dir("sh.c"), 0o644, shC)
	command("gcc", "-Os", "-static", "-s", "-o", w.dir("busybox", "usr/bin/sh"), w.dir("sh.c"))
	// One spec reads this file through an image volume.
	write(w.dir("busybox", "etc/os-release"), 0o644, "NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Stand-in for Alpine Linux\"\n")
	for _, a := range strings.Fields(output(w.dir("busybox", "usr/bin/busybox"), "--list")) {
		if p := w.dir("busybox", "usr/bin", a); !exists(p) {
			check(os.Symlink("busybox", p))
		}
	}
}

func (w work) agnhostTools() {
	log.Print("rootfs: agnhost tools")
	skeleton(w.dir("agnhost-tools"))
	debs(w.dir("agnhost-tools"), "bind9-dnsutils", "curl", "netcat-openbsd", "iproute2", "iperf", "bash", "util-linux", "ca-certificates", "libc-bin")
	prune(w.dir("agnhost-tools"))
	check(os.RemoveAll(w.dir("agnhost-tools", "etc/os-release")))
	check(os.RemoveAll(w.dir("agnhost-tools", "usr/lib/os-release")))
	check(os.Symlink("nc.openbsd", w.dir("agnhost-tools", "usr/bin/nc")))
	// Debian's busybox shell prefers its applets to programs on PATH, and its nc
	// lacks the options that the service specs give.
	check(os.Symlink("bash", w.dir("agnhost-tools", "usr/bin/sh")))
}

func (w work) glibc() {
	log.Print("rootfs: glibc-dns-testing")
	skeleton(w.dir("glibc"))
	debs(w.dir("glibc"), "bind9-dnsutils", "bash", "dash", "coreutils", "libc-bin", "grep", "sed", "hostname", "util-linux")
	prune(w.dir("glibc"))
	if p := w.dir("glibc", "usr/bin/sh"); !exists(p) {
		check(os.Symlink("dash", p))
	}
}

func (w work) nginx() {
	log.Print("rootfs: nginx")
	skeleton(w.dir("nginx"))
	debs(w.dir("nginx"), "nginx", "nginx-common", "libc-bin")
	prune(w.dir("nginx"))
	check(os.RemoveAll(w.dir("nginx", "etc/nginx/modules-enabled")))
	write(w.dir("nginx", "etc/nginx/nginx.conf"), 0o644, nginxConf)
	check(os.MkdirAll(w.dir("nginx", "var/lib/nginx"), 0o755))
	check(os.MkdirAll(w.dir("nginx", "var/log/nginx"), 0o755))
	write(w.dir("nginx", "usr/share/nginx/html/index.html"), 0o644, "<!DOCTYPE html>\n<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n")
}

const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 1024; }
http {
	include mime.types;
	default_type application/octet-stream;
	access_log /dev/stdout;
	server {
		listen 80;
		root /usr/share/nginx/html;
		index index.html;
	}
}
`

const shC = `#include <ctype.h>
#include <unistd.h>
extern char **environ;
/* busybox, or bash when the environment has a name that is no identifier */
int main(int argc, char **argv)
{
	for (char **e = environ; *e; e++)
		for (char *p = *e; *p && *p != '='; p++)
			if (!isalnum((unsigned char)*p) && *p != '_')
				execv("/usr/bin/bash-static", argv);
	execv("/usr/bin/busybox", argv);
	return 127;
}
`
