// Package runtime says what the node agent needs of a container runtime, in the terms of the CRI:
// sandbox, container, image, exit code. Package embedded is the built-in one.
//
// A sandbox is what the containers of a pod share: its network namespace (made by node/network before the
// sandbox, and outliving it), UTS and IPC namespaces, its cgroup, and a PID namespace where asked for.
// A container belongs to a sandbox, runs once, and stays as a record (exit code, log, writable layer)
// until it is removed. A restart is a new container with a higher Attempt.
package runtime

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"clipper/node/network"
	"clipper/node/userns"
)

// ErrUnreachable: there is no registry to ask for an image. A registry that answers, be it with a refusal, is not
// unreachable.
var ErrUnreachable = errors.New("registry is unreachable")

// ErrNotFound: no sandbox, container or image of that ID or name.
var ErrNotFound = errors.New("not found")

// A Sandbox asks for a pod's sandbox. It is identified by ID, which the agent chooses: the pod's UID plus
// an attempt number.
type Sandbox struct {
	ID                     string
	PodUID, Namespace, Pod string
	Attempt                int    // how many sandboxes the pod had before
	Hostname               string // UTS hostname; ignored with HostNetwork
	Domainname             string // kernel domain name, may be empty
	NetNS                  string // path of a bind-mounted network namespace; "" with HostNetwork
	HostNetwork            bool
	HostPID                bool
	HostIPC                bool
	UserNS                 *userns.IDs       // what the user namespace that NetNS belongs to maps; nil: the machine's own
	SharedPID              bool              // one PID namespace for all containers
	Sysctls                map[string]string // namespaced ones
	CgroupParent           string            // pod's cgroup, relative to the hierarchy roots: "/clipper/pods/burstable/pod<uid>"
	Resources              Resources         // limits of the pod cgroup as a whole; zero: none
	LogDir                 string            // directory of the pod's logs, exists
	Ports                  []network.PodPort // of the host, that lead to the sandbox, where the runtime brings the network
	Labels, Annotations    map[string]string // kept and returned by List
	Handler                string            // runtime handler of the pod's RuntimeClass, "" for the default
	// External: made by another client of the runtime than the agent, crictl for instance. The agent leaves it alone.
	External bool
}

// Resources are cgroup settings. Zero values leave the kernel's default.
type Resources struct {
	CPUShares     uint64 // cgroup v1 scale, 2..262144
	CPUQuota      int64  // µs per period; 0: unlimited
	CPUPeriod     uint64 // µs
	MemoryLimit   int64  // bytes
	PidsLimit     int64
	OOMScoreAdj   int // clamped to what the process may set
	HugepageLimit map[string]int64
	CpusetCpus    string
	CpusetMems    string // NUMA nodes
	// SwapLimit is in bytes, beside memory. Nil: the kernel's default. Without MemoryLimit only cgroup v2 has it.
	SwapLimit *int64
	OOMGroup  bool // out of memory, all processes are killed, not one; cgroup v2
}

// A Mount is a bind mount into a container.
type Mount struct {
	Host, Container   string
	ReadOnly          bool
	RecursiveReadOnly bool
	Propagation       string // "" private, "HostToContainer", "Bidirectional"
	// Unmapped shows files to a user namespace with the owners that they have: image layers are mapped already.
	Unmapped bool
}

// A Container asks for a container in a sandbox.
type Container struct {
	SandboxID  string
	Name       string // container's name in the pod
	Attempt    int    // restart count
	Image      string // image reference or ID, must be present
	Command    []string
	Args       []string
	Env        []string // KEY=value, expanded
	WorkDir    string   // "" for the image's
	TTY        bool
	Stdin      bool
	StdinOnce  bool
	Mounts     []Mount
	Devices    []Device
	CDIDevices []string // vendor.com/class=name, as described in the host's CDI files
	LogPath    string   // CRI-format log file, absolute; its directory exists
	Resources  Resources
	Security   Security
	StopSignal string // "" for the image's, else SIGTERM
	PID        PIDMode
	// TargetID is the container whose PID namespace is joined with TargetPID.
	TargetID            string
	Labels, Annotations map[string]string // kept and returned by List
}

// A PIDMode says which PID namespace a container is in.
type PIDMode int

// PID namespaces: what the sandbox says, one of the container's own, the host's, or another container's.
const (
	SandboxPID PIDMode = iota
	OwnPID
	HostPID
	TargetPID
)

// A Device is a host device node to make visible.
type Device struct{ Host, Container, Permissions string }

// Security holds the process credentials and confinement of a container.
type Security struct {
	User               *int64 // nil: the image's user
	Group              *int64
	UserName           string // from the image or runAsUserName, resolved in its passwd file when User is nil
	SupplementalGroups []int64
	SupplementalStrict bool // only the listed groups, none from the image's group file
	Privileged         bool
	AddCapabilities    []string // without CAP_; "ALL" is understood
	DropCapabilities   []string
	NoNewPrivileges    bool
	ReadOnlyRoot       bool
	Seccomp            string // "" or "RuntimeDefault", "Unconfined", or the absolute path of a profile
	AppArmor           string
	SELinux            *SELinux // nil: no label
	UnmaskedProc       bool     // procMount: Unmasked
	// Paths replaces the paths of /proc and /sys that are kept from the container. Nil: the kubelet's choice.
	Paths *GuardedPaths
	// AmbientCapabilities, without CAP_, are kept by programs of users that are not root.
	AmbientCapabilities []string
}

// SELinux are the parts of a label; empty ones are the usual ones of containers.
type SELinux struct{ User, Role, Type, Level string }

// GuardedPaths are paths inside a container that nothing in it may see, or write to.
type GuardedPaths struct{ Masked, ReadOnly []string }

// A State is where a container is in its life.
type State int

// Container states.
const (
	Created State = iota
	Running
	Exited
)

// A ContainerStatus is what the runtime knows of a container.
type ContainerStatus struct {
	ID, SandboxID, Name              string
	PodUID                           string
	Attempt                          int
	Image                            string // as asked for
	ImageID                          string // digest form: repo@sha256:… where known, else the config digest
	State                            State
	Pid                              int
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int // 128+n when killed by signal n
	Signal                           int
	OOMKilled                        bool
	Reason, Message                  string // for a container that could not start
	LogPath                          string
	User                             *ContainerUser // resolved credentials of the first process
	Mounts                           []Mount        // as asked for
	Labels, Annotations              map[string]string
}

// ContainerUser is the resolved identity of a container's first process.
type ContainerUser struct {
	UID, GID           int64
	SupplementalGroups []int64
}

// A SandboxStatus is what the runtime knows of a sandbox.
type SandboxStatus struct {
	ID, PodUID, Namespace, Pod string
	Attempt                    int
	Ready                      bool
	NetNS                      string
	// IPs are the pod's addresses where the runtime brings the network, primary first. The embedded one does not.
	IPs                 []netip.Addr
	CreatedAt           time.Time
	Labels, Annotations map[string]string
	Handler             string
	External            bool
	// What the sandbox shares with the host, and whether its containers share a PID namespace.
	HostNetwork, HostPID, HostIPC, SharedPID bool
}

// An Event says that a container, or where none is named a sandbox, changed state or is gone. It is a hint: Status
// has the facts.
type Event struct {
	PodUID, SandboxID, ContainerID string
	State                          State
}

// Exec asks for a process in a running container.
type Exec struct {
	Command []string
	// Short: the command reads nothing and its output is small, so that all of it may come at the end.
	Short  bool
	TTY    bool
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer // nil with TTY
	Resize <-chan Size
}

// Size is a terminal size in characters.
type Size struct{ Width, Height uint16 }

// Stats are a container's (or, summed, a pod's) resource use.
type Stats struct {
	ContainerID                 string
	At                          time.Time
	CPUUsage                    time.Duration // total since start
	MemoryUsage                 int64
	MemoryWorkingSet            int64
	MemoryRSS                   int64
	SwapUsage                   int64
	PageFaults, MajorPageFaults int64
	Pids                        int64
	RootfsUsed, RootfsInodes    int64 // writable layer
	LogUsed                     int64
}

// A Runtime runs sandboxes and containers. All methods may be called concurrently; all are idempotent
// where the name allows it (Stop, Remove of something gone is no error). Nothing here outlives a call but
// what the runtime itself owns: killing the agent leaves containers running, and a new agent finds them
// with List.
type Runtime interface {
	RunSandbox(ctx context.Context, s Sandbox) error
	// StopSandbox kills what still runs in it, at once.
	StopSandbox(ctx context.Context, id string) error
	// RemoveSandbox removes it with all its containers. Logs and the network namespace are the agent's.
	RemoveSandbox(ctx context.Context, id string) error
	SandboxStatus(ctx context.Context, id string) (SandboxStatus, error)

	CreateContainer(ctx context.Context, c Container) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, waits up to grace, then kills. It returns once the process is gone.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
	UpdateResources(ctx context.Context, id string, r Resources) error

	// List returns everything the runtime holds, read from memory: cheap.
	List(ctx context.Context) ([]SandboxStatus, []ContainerStatus, error)
	Status(ctx context.Context, containerID string) (ContainerStatus, error)
	// Events delivers state changes from now on until ctx ends. A slow reader loses none: events of a pod
	// are merged.
	Events(ctx context.Context) <-chan Event

	// Exec runs a process and returns its exit code when it ends.
	Exec(ctx context.Context, containerID string, e Exec) (exitCode int, err error)
	// Attach joins the container's own stdio until it ends or ctx does, or e.Stdin unless that ends the container's.
	Attach(ctx context.Context, containerID string, e Exec) error
	// PortForward connects stream to a TCP port of the sandbox's loopback until either side ends.
	PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
	// ReopenLog starts a new log file at LogPath after the agent has moved the old one away.
	ReopenLog(ctx context.Context, containerID string) error

	Stats(ctx context.Context, containerIDs ...string) ([]Stats, error)
	// SandboxCgroup returns the pod cgroup's usage.
	SandboxStats(ctx context.Context, id string) (Stats, error)
}

// An Image is what the image store knows of an image.
type Image struct {
	ID         string   // config digest, sha256:…
	Tags       []string // full references, docker.io/library/nginx:1.25
	Digests    []string // repo@sha256:…
	Size       int64    // bytes on disk
	Pinned     bool
	Imported   bool // put on the node by hand
	User       string
	StopSignal string
}

// PullAuth is one credential for a registry.
type PullAuth struct{ Username, Password, IdentityToken, RegistryToken string }

// Images is the image half of a runtime.
type Images interface {
	// Status returns an image by reference or ID, or ErrNotFound.
	ImageStatus(ctx context.Context, ref string) (Image, error)
	ListImages(ctx context.Context) ([]Image, error)
	// Pull fetches ref and returns the image. The credentials are tried in order, and none only if there are none.
	PullImage(ctx context.Context, ref string, auth []PullAuth) (Image, error)
	RemoveImage(ctx context.Context, ref string) error
}
