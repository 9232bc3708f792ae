// Command clipper is the whole of Clipper in one binary: control plane, node agent, local clusters, image
// tools and kubectl. Called by the name kubectl it is kubectl.
package main

import (
	"os"
	"path/filepath"

	"clipper/cli"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(cli.Kubectl(os.Args[1:]))
	}
	os.Exit(cli.Main(os.Args[1:]))
}
