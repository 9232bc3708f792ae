package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed files
var files embed.FS

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nredis:x:999:999:redis:/data:/bin/false\nmysql:x:998:998:mysql:/var/lib/mysql:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
	group  = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nredis:x:999:\nmysql:x:998:\nnogroup:x:65534:\n"
)

// skeleton makes a merged-/usr tree as Debian's: /bin, /sbin and /usr/sbin lead to /usr/bin.
func skeleton(root string) error {
	for _, d := range []string{"usr/bin", "usr/lib", "usr/lib64", "usr/local/bin", "etc", "root", "home", "proc", "sys", "dev", "run", "var/lib", "var/log", "var/tmp", "tmp", "mnt"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(root, d), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "/run"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{"etc/passwd": passwd, "etc/group": group, "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A debFile is a package as apt-get names it.
type debFile struct{ url, file string }

// resolve asks apt-get which packages these need on a machine where nothing is installed.
func (b *builder) resolve(packages []string, withDependencies bool) ([]debFile, error) {
	if err := os.MkdirAll(b.debs, 0o755); err != nil {
		return nil, err
	}
	args := []string{"-qq", "--print-uris", "-o", "APT::Sandbox::User=root"}
	if withDependencies {
		status := filepath.Join(b.debs, "status") // empty: as if nothing were installed
		if err := os.WriteFile(status, nil, 0o644); err != nil {
			return nil, err
		}
		args = append(args, "-y", "--no-install-recommends", "-o", "Dir::State::Status="+status, "-o", "Debug::NoLocking=1", "install")
	} else {
		args = append(args, "download")
	}
	out, err := exec.Command("apt-get", append(args, packages...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get cannot find %s: %w; try apt-get update", strings.Join(packages, " "), err)
	}
	var found []debFile
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); { // 'URL' FILE SIZE HASH
		f := strings.Fields(s.Text())
		if len(f) >= 2 && strings.HasPrefix(f[0], "'") {
			found = append(found, debFile{strings.Trim(f[0], "'"), f[1]})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("apt-get named no files for %s", strings.Join(packages, " "))
	}
	return found, nil
}

// unneeded come in only for the scripts of other packages, which do not run here.
func unneeded(file string) bool {
	name, _, _ := strings.Cut(file, "_")
	for _, p := range []string{"perl", "libperl", "systemd", "debconf", "dpkg", "tar", "passwd", "adduser", "usrmerge", "init-system-helpers", "sysvinit-utils", "libpam-modules", "gawk", "rsync"} {
		if name == p || strings.HasPrefix(name, p+"-") {
			return true
		}
	}
	return false
}

// unpackPackages fetches Debian packages into the cache, unless there, and unpacks them.
func (b *builder) unpackPackages(root string, packages []string, withDependencies bool) error {
	found, err := b.resolve(packages, withDependencies)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(d debFile) bool { return unneeded(d.file) })
	if err := b.fetch(found, packages, withDependencies); err != nil {
		return err
	}
	for _, d := range found {
		// Not dpkg-deb -x, which would replace the links of the merged /usr by directories.
		cmd := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"`, "sh", filepath.Join(b.debs, d.file), root)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", d.file, err, out)
		}
	}
	return prune(root)
}

func (b *builder) fetch(debs []debFile, packages []string, withDependencies bool) error {
	missing := slices.ContainsFunc(debs, func(d debFile) bool {
		_, err := os.Stat(filepath.Join(b.debs, d.file))
		return err != nil
	})
	if !missing {
		return nil
	}
	dir, err := filepath.Abs(b.debs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return err
	}
	args := []string{"-qq", "-o", "APT::Sandbox::User=root"}
	if withDependencies {
		args = append(args, "-y", "--no-install-recommends", "--download-only", "-o", "Dir::State::Status="+filepath.Join(dir, "status"),
			"-o", "Dir::Cache::Archives="+dir, "-o", "Debug::NoLocking=1", "install")
	} else {
		args = append(args, "download")
	}
	cmd := exec.Command("apt-get", append(args, packages...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w\n%s", err, out)
	}
	return nil
}

// prune drops documentation and translations.
func prune(root string) error {
	for _, d := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bash-completion", "usr/share/i18n", "usr/share/perl5", "usr/share/perl", "usr/lib/systemd", "var/lib/dpkg"} {
		if err := os.RemoveAll(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	return nil
}

// copyFiles copies a tree of files/ over root. What lies in a bin directory becomes executable.
func copyFiles(root, name string) error {
	top := "files/" + name
	return fs.WalkDir(files, top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		target := filepath.Join(root, strings.TrimPrefix(path, top))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		b, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if filepath.Base(filepath.Dir(target)) == "bin" {
			mode = 0o755
		}
		if err := os.Remove(target); err != nil && !os.IsNotExist(err) {
			return err // a link of a package would be written through
		}
		return os.WriteFile(target, b, mode)
	})
}

// stamp describes what an image is made from. Packages count by version, Go programs always: building them
// again costs less than finding out.
func (b *builder) stamp(r recipe) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %q %+v %q %v\n", recipesVersion, r.refs, r.spec, r.packages, r.scratch)
	if !r.scratch {
		found, err := b.resolve([]string{"busybox-static"}, false)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, found)
	}
	if len(r.packages) > 0 {
		found, err := b.resolve(r.packages, true)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, found)
	}
	if r.files != "" {
		err := fs.WalkDir(files, "files/"+r.files, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := files.ReadFile(path)
			fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	for target, pkg := range r.programs {
		probe := filepath.Join(b.work, "probe")
		if err := b.goBuild(probe, pkg); err != nil {
			return "", err
		}
		content, err := os.ReadFile(probe)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %x\n", target, sha256.Sum256(content))
	}
	return fmt.Sprintf("%x\n", sum.Sum(nil)), nil
}
