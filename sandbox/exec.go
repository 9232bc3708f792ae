package sandbox

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"clipper/dns"
	"clipper/node/network/netns"
)

// resolvConf is what a pod in the default namespace would have.
const resolvConf = "nameserver %s\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"

// serviceCIDR is the server's default; sandboxes do not change it.
var serviceCIDR = netip.MustParsePrefix("10.43.0.0/16")

// Exec replaces this program by a command that runs on this machine's files, but on the sandbox's network,
// asks the cluster's name service and finds the cluster by KUBECONFIG. It returns only if that fails.
func (s Sandbox) Exec(args []string) error {
	if err := preflight(); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	if _, found, err := s.load(); err != nil || !found {
		return errors.Join(err, s.absent())
	}
	if !netns.Exists(s.netns(clientNS)) { // since the machine was started
		return fmt.Errorf("sandbox %s: does not run; 'clipper sandbox create %s' starts it again", s.Name, s.Name)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	conf := s.path("resolv.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf(resolvConf, dns.ServiceIP(serviceCIDR))), 0o644); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	runtime.LockOSThread() // never unlocked: the thread becomes the command
	if err := enterClient(s.netns(clientNS), conf); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	env := append(withoutVariable(os.Environ(), "KUBECONFIG"), "KUBECONFIG="+s.insideKubeconfig())
	return fmt.Errorf("sandbox %s: run %s: %w", s.Name, path, unix.Exec(path, args, env))
}

// enterClient moves this thread to the client's network, and to mounts of its own with its own resolv.conf.
func enterClient(ns, conf string) error {
	f, err := os.Open(ns)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts apart: %w", err)
	}
	err = unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOENT) {
		return errors.New("this machine has no /etc/resolv.conf to put the cluster's over; make an empty one")
	}
	if err != nil {
		return fmt.Errorf("mount resolv.conf: %w", err)
	}
	return nil
}

func withoutVariable(env []string, name string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, name+"=") {
			out = append(out, v)
		}
	}
	return out
}
