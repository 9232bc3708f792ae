// Command clipper is the whole of Clipper in one binary: control plane, node agent, local clusters, image
// tools and kubectl. Called by the name kubectl it is kubectl, and by that of a CNI plug-in it is that.
package main

import (
	"os"
	"path/filepath"

	"clipper/cli"
	"clipper/node/network/cni"
)

func main() {
	if cni.IsPlugin(os.Args[0]) {
		cni.Main(os.Args[0])
		return
	}
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(cli.Kubectl(os.Args[1:]))
	}
	os.Exit(cli.Main(os.Args[1:]))
}
