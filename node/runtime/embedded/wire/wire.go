// Package wire is the language between the node agent and its shim: length-prefixed JSON messages over a
// unix stream socket, with file descriptors attached to a message where stdio is handed over.
//
// A connection carries one request at a time. Most requests have one response. Three keep the connection:
// Watch streams updates until it is closed; Exec answers twice (started, then exited) and kills its process
// when the connection goes away; Attach lasts as long as its connection.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"clipper/node/runtime"
)

// Version of the protocol and of the state files. A shim of another version is replaced: it hands its
// containers over by its state files.
const Version = 1

// An Op names a request.
type Op string

// Requests.
const (
	OpHello           Op = "hello"
	OpList            Op = "list"
	OpWatch           Op = "watch"
	OpRunSandbox      Op = "runSandbox"
	OpStopSandbox     Op = "stopSandbox"
	OpRemoveSandbox   Op = "removeSandbox"
	OpReserve         Op = "reserve"
	OpCreate          Op = "create"
	OpStart           Op = "start"
	OpSignal          Op = "signal"
	OpWait            Op = "wait" // answered when the container has ended
	OpRemove          Op = "remove"
	OpUpdateResources Op = "updateResources"
	OpExec            Op = "exec"
	OpAttach          Op = "attach"
	OpCloseStdin      Op = "closeStdin"
	OpReopenLog       Op = "reopenLog"
	OpShutdown        Op = "shutdown" // the shim ends; containers stay
	OpReplace         Op = "replace"  // the shim becomes another program; containers stay, as its children
)

// A Request is one message from the agent.
type Request struct {
	Op        Op                 `json:"op"`
	ID        string             `json:"id,omitempty"`
	Sandbox   *runtime.Sandbox   `json:"sandbox,omitempty"`
	Container *ContainerSpec     `json:"container,omitempty"`
	Signal    int                `json:"signal,omitempty"`
	All       bool               `json:"all,omitempty"` // Signal: every process of the container
	Resources *runtime.Resources `json:"resources,omitempty"`
	Exec      *ExecSpec          `json:"exec,omitempty"`
	Attach    *AttachSpec        `json:"attach,omitempty"`
	Replace   *Build             `json:"replace,omitempty"`
}

// A Response is one message from the shim. What it holds depends on the request.
type Response struct {
	Error      *Error      `json:"error,omitempty"`
	Hello      *Hello      `json:"hello,omitempty"`
	Sandboxes  []Sandbox   `json:"sandboxes,omitempty"`
	Containers []Container `json:"containers,omitempty"`
	Removed    []Removal   `json:"removed,omitempty"`
	Exit       *Exit       `json:"exit,omitempty"`
	// Rev is as of when the first message of a watch holds everything.
	Rev uint64 `json:"rev,omitempty"`
}

// A Build is a shim's program: its file, and a hash of its content.
type Build struct {
	Path string `json:"path"`
	Hash string `json:"hash"`
}

// Hello introduces the shim.
type Hello struct {
	Version int    `json:"version"`
	Build   string `json:"build"` // content hash of its binary, as its file name has it
	Pid     int    `json:"pid"`
}

// Exit is how an exec'd process ended.
type Exit struct {
	Code int `json:"code"`
}

// A Removal says that an object is gone.
type Removal struct {
	Rev uint64 `json:"rev"`
	ID  string `json:"id"`
}

// A ContainerSpec asks for a container: its OCI configuration and what lies around it.
type ContainerSpec struct {
	Status         runtime.ContainerStatus `json:"status"` // identity, image, labels, log path, user
	OCI            *specs.Spec             `json:"oci"`
	DefaultSeccomp bool                    `json:"defaultSeccomp,omitempty"`
	TTY            bool                    `json:"tty,omitempty"`
	Stdin          bool                    `json:"stdin,omitempty"`
	StdinOnce      bool                    `json:"stdinOnce,omitempty"`
	StopSignal     int                     `json:"stopSignal,omitempty"`
	CgroupPath     string                  `json:"cgroupPath"`
	SharedPID      bool                    `json:"sharedPID,omitempty"` // not the init of its own PID namespace
	RootID         uint32                  `json:"rootID,omitempty"`    // whom the machine takes its root for
}

// A Container is the shim's record of one. Rev grows with every change of anything the shim holds.
type Container struct {
	runtime.ContainerStatus
	Rev        uint64 `json:"rev"`
	Reserved   bool   `json:"reserved,omitempty"` // OpReserve seen, OpCreate not: left by an agent that died
	CgroupPath string `json:"cgroupPath,omitempty"`
	StopSignal int    `json:"stopSignal,omitempty"`
	TTY        bool   `json:"tty,omitempty"`
	Stdin      bool   `json:"stdin,omitempty"`
	StdinOnce  bool   `json:"stdinOnce,omitempty"`
}

// A Sandbox is the shim's record of one, with what containers joining it need to know.
type Sandbox struct {
	runtime.SandboxStatus
	Rev        uint64           `json:"rev"`
	Spec       *runtime.Sandbox `json:"spec"`
	UserPath   string           `json:"userPath,omitempty"`
	UTSPath    string           `json:"utsPath,omitempty"`
	IPCPath    string           `json:"ipcPath,omitempty"`
	PIDPath    string           `json:"pidPath,omitempty"`
	ShmPath    string           `json:"shmPath,omitempty"`
	HostnameAt string           `json:"hostnameAt,omitempty"` // file to mount at /etc/hostname
}

// An ExecSpec asks for a process in a container. Without a terminal its stdin, stdout and stderr come
// attached to the request, in this order, each only if its flag is set; with one, the response carries
// the terminal's master side.
type ExecSpec struct {
	Args          []string `json:"args"`
	TTY           bool     `json:"tty,omitempty"`
	Stdin         bool     `json:"stdin,omitempty"`
	Stdout        bool     `json:"stdout,omitempty"`
	Stderr        bool     `json:"stderr,omitempty"`
	Width, Height uint16
}

// An AttachSpec joins a container's stdio. Pipes to write stdout and stderr to come attached; the response
// carries a descriptor to write stdin to (or the terminal's master side), if stdin was asked for and open.
type AttachSpec struct {
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// Error kinds.
const (
	KindNotFound = "notFound"
	KindConflict = "conflict"
)

// An Error crosses the socket with its kind.
type Error struct {
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Is makes a not-found error of the shim one of the runtime contract.
func (e *Error) Is(target error) bool {
	return e.Kind == KindNotFound && target == runtime.ErrNotFound
}

// NotFound says that the shim holds no such object.
func NotFound(kind, id string) *Error {
	return &Error{Kind: KindNotFound, Message: fmt.Sprintf("%s %q: not found", kind, id)}
}

// AsError wraps err for the wire, keeping its kind.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Kind: e.Kind, Message: err.Error()}
	}
	return &Error{Message: err.Error()}
}

// encode returns m with its length in front.
func encode(m any) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(body) > maxMessage {
		return nil, fmt.Errorf("message of %d bytes exceeds the limit of %d", len(body), maxMessage)
	}
	frame := make([]byte, 4, 4+len(body))
	frame[0], frame[1], frame[2], frame[3] = byte(len(body)>>24), byte(len(body)>>16), byte(len(body)>>8), byte(len(body))
	return append(frame, body...), nil
}
