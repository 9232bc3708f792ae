// Package kubeletdir knows the directory that a node shares with its plug-ins: device plug-ins, DRA and CSI
// drivers find the node's sockets there, put their own beside them, and mount volumes below it.
//
// Their manifests name it /var/lib/kubelet, whatever node they run on, so that is where a node keeps it. Several
// nodes on one machine cannot share it, though: sandboxes give each a directory of its own. Giving each a mount
// namespace of its own instead would have to survive the agent, for the pods do. So there are two names of the
// same files, and one rule. Whatever pods and plug-ins write or are told, hostPath volumes, endpoints, target
// paths, says /var/lib/kubelet; what the node itself opens is what Host makes of that. A plug-in that mounts the
// hostPath /var/lib/kubelet at that same path, as they all do, can tell no difference.
package kubeletdir

import (
	"path/filepath"
	"strings"
)

// Known is where plug-ins look for it.
const Known = "/var/lib/kubelet"

// A Dir is where a node keeps it.
type Dir string

// Join returns the path of something in it, on this machine.
func (d Dir) Join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// Host returns where path, as a plug-in or a pod's hostPath says it, lies on this machine.
func (d Dir) Host(path string) string { return Move(path, Known, string(d)) }

// Told returns what a plug-in must be told so that it finds path, a path on this machine.
func (d Dir) Told(path string) string { return Move(path, string(d), Known) }

// Move returns path below to if it lies below from, else path as it is.
func Move(path, from, to string) string {
	if clean := filepath.Clean(path); from != to && (clean == from || strings.HasPrefix(clean, from+"/")) {
		return to + clean[len(from):]
	}
	return path
}
