package lifecycle

import (
	"fmt"
	"strings"
	"time"
)

// An Op says what an action does.
type Op string

// The operations a plan consists of.
const (
	Allocate   Op = "allocate"    // devices and the like
	Attach     Op = "attach"      // network
	Mount      Op = "mount"       // all volumes
	Pull       Op = "pull"        // make sure of a container's image
	RunSandbox Op = "run-sandbox" //
	DropStale  Op = "drop-sandbox"
	PreStop    Op = "pre-stop" // the preStop hook of a sidecar whose turn to stop has not come
	Start      Op = "start"    // create and start a container, and run its postStart hook
	Stop       Op = "stop"     // preStop hook, stop signal, grace, kill
	Resize     Op = "resize"   // give a running container what it has been granted
	ResizePod  Op = "resize-pod"
	Remove     Op = "remove"   // the record of a dead container
	Fail       Op = "fail"     // give the pod a verdict
	Teardown   Op = "teardown" // sandbox, network, volumes; with Records also records and files
	Delete     Op = "delete"   // the API object
	Finish     Op = "finish"   // the worker has nothing left to do
)

// An Action is one thing to do now. Actions of one plan are independent and may run at the same time.
type Action struct {
	Op        Op
	Container string
	Attempt   int
	ID        string // container or sandbox ID
	Grace     time.Duration
	Reason    string
	Message   string // what the Killing event says, or a verdict's message
	Records   bool   // Teardown: remove records too
	KeepLog   bool   // Remove: its log is the pod's history still
	Reset     bool   // Remove: the pod is restarted in place
	Replace   bool   // Stop: another container takes its place at once
}

// Key identifies an action while it is under way: no two of the same key run at once.
func (a Action) Key() string {
	switch a.Op {
	case Remove, DropStale:
		return string(a.Op) + ":" + a.ID
	case Pull, Start, PreStop, Stop, Resize:
		return string(a.Op) + ":" + a.Container
	default:
		return string(a.Op)
	}
}

// String renders the action for tests and debug logs.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(string(a.Op))
	if a.Container != "" {
		b.WriteString(" " + a.Container)
	}
	switch a.Op {
	case Start:
		fmt.Fprintf(&b, " attempt=%d", a.Attempt)
	case Stop, PreStop:
		fmt.Fprintf(&b, " grace=%s", a.Grace)
	case RunSandbox:
		fmt.Fprintf(&b, " attempt=%d", a.Attempt)
	case Remove, DropStale:
		b.WriteString(" " + a.ID)
	case Teardown:
		if a.Records {
			b.WriteString(" records")
		}
	}
	if a.Reason != "" {
		fmt.Fprintf(&b, " reason=%s", a.Reason)
	}
	if a.Message != "" {
		fmt.Fprintf(&b, " %q", a.Message)
	}
	return b.String()
}
