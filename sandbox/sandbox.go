// Package sandbox makes local clusters: several nodes on one machine, each a network namespace with a clipper
// process of its own, without any other program.
//
//	root namespace        127.0.0.1:port ── inherited socket ──┐
//	switch (namespace)    a bridge ── wire ── node-1 (server) ─┘ ── pods
//	                            ├── wire ── node-2 (agent)      ── pods
//	                            └── wire ── client: where Exec runs commands
//
// No wire leaves the machine. A node is the same process, with the same flags, as on a real machine.
//
// Everything a sandbox is lies below one directory, or can be found from there: namespaces are mounts in it,
// processes are those in the namespaces and cgroups of the sandbox. So Delete needs no bookkeeping, and works
// after any crash or reboot.
package sandbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"
)

// DefaultName is the sandbox meant when none is named.
const DefaultName = "default"

// DirEnv names the environment variable that moves all sandboxes to another directory.
const DirEnv = "CLIPPER_SANDBOX_DIR"

// maxNodes is what fits on the switch's addresses with room to spare.
const maxNodes = 100

// root is the directory of all sandboxes.
func root() string {
	if dir := os.Getenv(DirEnv); dir != "" {
		return dir
	}
	return "/var/lib/clipper/sandboxes"
}

// KubeconfigPath is where the kubeconfig of a sandbox is while it exists.
func KubeconfigPath(name string) string { return filepath.Join(root(), name, "kubeconfig") }

// A Sandbox is one local cluster, running or not.
type Sandbox struct {
	Name string
	dir  string
}

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// Named returns the sandbox of that name, which need not exist.
func Named(name string) (Sandbox, error) {
	if !validName.MatchString(name) {
		return Sandbox{}, fmt.Errorf("sandbox name %q: use at most 40 lower-case letters, digits and '-', such as %q", name, "test-1")
	}
	return Sandbox{Name: name, dir: filepath.Join(root(), name)}, nil
}

// Options say what Create makes.
type Options struct {
	Nodes    int           // 0: one, or as many as the sandbox has
	Binary   string        // the clipper to run; "": this program
	Timeout  time.Duration // for all nodes to get ready; 0: a minute
	Keep     bool          // leave what there is if it fails, to look at
	Progress func(step string)
	// KubeletConfig is a file with the settings of all nodes. It is copied, so that parts that are started
	// again have them too; "" leaves those that the sandbox has. Fields that it lacks are as in kubelet.yaml.
	KubeletConfig string
}

// Addresses on the switch. Every sandbox has the same: they never meet.
var (
	clientIP = netip.MustParseAddr("172.30.0.2")
	wireBits = 24
)

const apiPort = 6443

// nodeCIDRBits makes shares of the pod addresses that are enough for maxNodes, each with room for 500 pods.
const nodeCIDRBits = 23

func nodeIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 30, 0, byte(10 + i)}) }

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func (s Sandbox) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s Sandbox) netns(name string) string { return s.path("netns", name) }

func (s Sandbox) nodeDir(i int) string { return s.path("nodes", nodeName(i)) }

// cgroup is where the sandbox is in every cgroup hierarchy.
func (s Sandbox) cgroup() string { return "/clipper/sandboxes/" + s.Name }

// Create makes the sandbox and returns when all its nodes are Ready. One that is there already is brought
// to that state: its dead parts are started again on their data. If a new one cannot be completed, nothing
// of it is left.
func (s Sandbox) Create(ctx context.Context, o Options) (err error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if err := o.complete(); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	if err := preflight(); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	unlock, err := s.lock()
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	defer unlock()
	rec, found, err := s.load()
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	switch {
	case !found:
		rec = record{Nodes: max(1, o.Nodes), Created: time.Now()}
		defer func() {
			if err != nil && !o.Keep {
				err = errors.Join(err, s.destroy())
			}
		}()
	case o.Nodes != 0 && o.Nodes != rec.Nodes:
		return fmt.Errorf("sandbox %s: exists with %d nodes; take another name, or run 'clipper sandbox delete %s' first", s.Name, rec.Nodes, s.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if err := s.start(ctx, &rec, o); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	return nil
}

//go:embed kubelet.yaml
var defaultKubeletConfig []byte

// kubeletConfig is where the settings of the nodes are.
func (s Sandbox) kubeletConfig() string { return s.path("kubelet.yaml") }

func (s Sandbox) keepKubeletConfig(file string) error {
	switch {
	case file == "" && exists(s.kubeletConfig()):
		return nil
	case file == "":
		return writeFile(s.kubeletConfig(), defaultKubeletConfig)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--kubelet-config: %w", err)
	}
	if data, err = overKubeletDefaults(data); err != nil {
		return fmt.Errorf("--kubelet-config %s: %w", file, err)
	}
	return writeFile(s.kubeletConfig(), data)
}

// overKubeletDefaults adds the sandbox's settings where config has none.
func overKubeletDefaults(config []byte) ([]byte, error) {
	all, own := map[string]any{}, map[string]any{}
	if err := errors.Join(yaml.Unmarshal(defaultKubeletConfig, &all), yaml.Unmarshal(config, &own)); err != nil {
		return nil, err
	}
	maps.Copy(all, own)
	return yaml.Marshal(all)
}

func (o *Options) complete() error {
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return fmt.Errorf("--nodes %d: must be from 1 to %d", o.Nodes, maxNodes)
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program's file: %w", err)
		}
		o.Binary = self
	}
	return nil
}

// start brings up what is not there: namespaces, the server, then the other nodes at once.
func (s Sandbox) start(ctx context.Context, rec *record, o Options) error {
	if err := s.save(*rec); err != nil { // before the first thing that could be left behind
		return err
	}
	if err := s.keepKubeletConfig(o.KubeletConfig); err != nil {
		return err
	}
	if err := s.buildNetwork(rec.Nodes); err != nil {
		return err
	}
	l := &launcher{sandbox: s, binary: o.Binary, exits: make(chan error, rec.Nodes)}
	if !rec.running(1) {
		o.Progress("starting the control plane")
	}
	if err := l.server(rec); err != nil {
		return err
	}
	if err := s.save(*rec); err != nil {
		return err
	}
	if err := l.within(ctx, 1, s.controlPlaneReady(*rec)); err != nil {
		return err
	}
	if err := s.startAgents(ctx, l, rec, o.Progress); err != nil {
		return err
	}
	if err := s.save(*rec); err != nil {
		return err
	}
	o.Progress("waiting for nodes to be ready")
	return l.within(ctx, rec.Nodes, s.nodesReady(*rec))
}

func (s Sandbox) startAgents(ctx context.Context, l *launcher, rec *record, progress func(string)) error {
	var missing []int
	for i := 2; i <= rec.Nodes; i++ {
		if !rec.running(i) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	progress(fmt.Sprintf("starting %d more", len(missing)))
	token, err := l.token(ctx)
	if err != nil {
		return err
	}
	processes := make([]process, len(missing))
	var g errgroup.Group
	for at, i := range missing {
		g.Go(func() (err error) {
			processes[at], err = l.agent(i, token)
			return err
		})
	}
	err = g.Wait()
	for at, i := range missing {
		if processes[at].PID != 0 {
			rec.setProcess(i, processes[at])
		}
	}
	return err
}
