// Package server lets tools of the container runtime interface (CRI) work on the built-in runtime: crictl looks
// at the agent's pods, critest and others make sandboxes and containers of their own. It serves runtime.v1 and
// image.v1 on a unix socket, and the streams of exec, attach and port-forward on a loopback port that is opened
// when the first of them is asked for. Nothing runs here while nobody calls.
//
// What comes from here is marked as external to the agent, which neither uses nor removes it. It gets addresses
// and host ports from the node's own network, and cgroups of its own below the node's. Error codes are
// containerd's.
package server
