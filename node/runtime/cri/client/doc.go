// Package client runs a node's pods by any runtime that serves the container runtime interface (CRI): containerd,
// CRI-O. It does what a kubelet does towards such a runtime, and implements the node agent's contract with it.
//
// # Names
//
// The agent chooses a sandbox's ID (the pod's UID and an attempt), a CRI runtime makes up its own. The two are
// tied by the sandbox's metadata. What the interface wants to hear again with every container of a sandbox is
// kept in an annotation of it, so that a new agent needs nothing but the runtime itself. A label tells the agent's
// sandboxes from others', which are listed as external and left alone.
//
// # The network
//
// is the runtime's: it calls CNI plug-ins when it makes a sandbox, and tells the addresses that they gave.
// Runtime.Network is that for the agent. Package node/network/cni makes the node's own network such a plug-in.
//
// # Events
//
// A runtime that streams events is listened to; besides, and every second where it does not, its lists are
// compared with what they were: streams of some runtimes lose events.
package client
