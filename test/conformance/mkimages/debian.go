package main

import (
	"os"
	"path/filepath"
	"strings"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group  = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnobody:x:65534:\n"
)

// skeleton makes a merged-/usr tree: /bin, /sbin and /usr/sbin all lead to /usr/bin.
func skeleton(root string) {
	for _, d := range []string{"usr/bin", "usr/lib", "usr/lib64", "usr/local/bin", "etc", "root", "home", "proc", "sys", "dev", "run", "var/tmp", "tmp", "mnt"} {
		check(os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		check(os.Chmod(filepath.Join(root, d), 0o777|os.ModeSticky))
	}
	for l, t := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "/run"} {
		check(os.Symlink(t, filepath.Join(root, l)))
	}
	write(filepath.Join(root, "etc/passwd"), 0o644, passwd)
	write(filepath.Join(root, "etc/group"), 0o644, group)
	write(filepath.Join(root, "etc/nsswitch.conf"), 0o644, "passwd: files\ngroup: files\nhosts: files dns\n")
}

// debs unpacks Debian packages and all they depend on. No maintainer script
// runs. Nothing is installed on this machine.
func debs(root string, packages ...string) {
	tmp, err := os.MkdirTemp("", "debs")
	check(err)
	defer os.RemoveAll(tmp)
	check(os.MkdirAll(filepath.Join(tmp, "partial"), 0o755))
	write(filepath.Join(tmp, "status"), 0o644, "") // as if nothing were installed
	command("apt-get", append([]string{"-qq", "-y", "--no-install-recommends", "--download-only",
		"-o", "Dir::State::Status=" + filepath.Join(tmp, "status"),
		"-o", "Dir::Cache::Archives=" + tmp, "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root",
		"install"}, packages...)...)
	unpack(root, tmp)
}

// static unpacks Debian packages alone.
func static(root string, packages ...string) {
	tmp, err := os.MkdirTemp("", "debs")
	check(err)
	defer os.RemoveAll(tmp)
	command("sh", append([]string{"-c", `cd "$0" && apt-get -qq -o APT::Sandbox::User=root download "$@"`, tmp}, packages...)...)
	unpack(root, tmp)
}

func unpack(root, debs string) {
	found, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	check(err)
	for _, d := range found {
		// Perl, debconf and systemd come in only for the maintainer scripts.
		if b := filepath.Base(d); strings.HasPrefix(b, "perl") || strings.HasPrefix(b, "systemd") || strings.HasPrefix(b, "debconf") {
			continue
		}
		// Not dpkg-deb -x, which would replace the /usr symlinks by directories.
		command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"`, "sh", d, root)
	}
}

// prune drops what no spec reads.
func prune(root string) {
	for _, d := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bash-completion", "usr/share/i18n", "usr/share/perl5", "var/lib/dpkg", "usr/lib/x86_64-linux-gnu/gconv"} {
		check(os.RemoveAll(filepath.Join(root, d)))
	}
}
