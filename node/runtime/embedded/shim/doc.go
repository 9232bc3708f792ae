// Package shim is the parent of the containers of a node: one small process that outlives the node agent. It
// creates containers through libcontainer, owns their stdio and log files, waits for them, keeps their exit
// codes on disk, and serves the agent over a unix socket (package wire).
//
// One process serves the whole node, not one per pod: a process costs some 5 MB and a container in it a few
// tens of kilobytes. What a larger blast radius would cost is paid for in another way: the shim may die. Every
// container has a state directory, its stdio are FIFOs there that it holds open itself, so it neither dies
// of a broken pipe nor loses a line; the next shim finds the process by pid and start time, watches it by
// pidfd and learns its exit code from the kernel (Linux 6.15; before that an unknown code is 137).
// Terminals' master sides cannot be opened again, and stdin would come to its end: a process of a few pages, started
// for the first of them, holds copies, which the next shim fetches (keeper.go).
//
// # State directory
//
//	shim.sock, shim.lock, shim.log, keeper.sock
//	sandboxes/<id>/sandbox.json      the record, written atomically
//	sandboxes/<id>/{uts,ipc,pid}     namespaces, held by bind mounts
//	sandboxes/<id>/shm, hostname     /dev/shm of the pod; /etc/hostname
//	containers/<id>/config.json      what was asked for
//	containers/<id>/state.json       the record, written atomically
//	containers/<id>/{stdin,stdout,stderr}
//	libcontainer/<id>/               libcontainer's own state
//
// # Goroutines
//
// One poller goroutine waits on an epoll set of all containers' output FIFOs, terminals and pidfds, and
// writes the logs: a container costs descriptors, no goroutine, no thread and no buffer. Beside it there is one
// goroutine per connection of the agent, and a short-lived one per exit.
//
// # Seccomp
//
// libseccomp needs longer to compile the default profile than the rest of a container's set-up takes. So it is
// compiled once per variant, in a process of its own, and handed to set-up processes in a sealed memory file:
// filter.go here and filter.c in cmd/clipper-shim. Should the two ever disagree, processes fail to start:
// without rules libseccomp's program refuses every call.
//
// # Locks
//
// Order: container.op, then Server.mu, then stdio.mu. container.op serializes what changes a container;
// Server.mu guards maps and records and is never held across I/O; stdio.mu guards a container's streams.
package shim
