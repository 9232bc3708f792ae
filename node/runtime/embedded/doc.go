// Package embedded is the built-in container runtime: the agent's side of it. It decides what a container is
// (package ocispec), keeps root file systems by way of the image store, and has a shim run it: a small separate
// program (cmd/clipper-shim, package shim) that is the containers' parent and outlives the agent. There is no
// cgo on this side.
//
// # The shim binary
//
// It is built before the main binary and embedded into it from the folder bin, which git ignores:
//
//	CGO_ENABLED=1 go build -tags "seccomp netgo osusergo runc_nocriu" \
//	    -ldflags "-s -w -linkmode external -extldflags -static" \
//	    -o node/runtime/embedded/bin/clipper-shim ./cmd/clipper-shim
//
// That takes gcc, pkg-config and libseccomp-dev. A main binary built without it compiles, and says what is
// missing when it is asked to run containers. At run time the shim is unpacked to <data-dir>/bin/clipper-shim-<hash>
// and started on demand.
//
// # What it costs
//
// Measured on 2 shared cores with cgroup v1 (go test -bench . ./node/runtime/embedded; the machine was never idle):
// the shim takes 7 MB of memory, of which 3.5 MB are its own, and some 50 kB per container; create and start of a
// container take about as long as `runc run` alone does there, though with the default seccomp profile, which
// runc's default has not; a process in a container starts and ends within 15 ms.
//
// # Who dies when
//
// Killing the agent leaves shim and containers running; the next agent's Open connects to the same socket and
// finds everything, exits that happened meanwhile included. What the dead one had asked for just then comes to its
// end first. Killing the shim leaves the containers running too; the agent starts another, which adopts them by
// their state files and fetches terminals and stdin from the process that keeps them. A shim of another build than
// the agent's is not killed: it becomes that build, and stays the containers' parent. After a reboot nothing runs,
// and containers that did have exited with 255.
//
// What an agent was in the middle of is cleared up by the next: a container is reserved in the shim before its root
// file system is made, so there is always a record of what may be left.
package embedded
