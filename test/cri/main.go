// Command cri serves the images that cri-tools' critest pulls, on loopback: stand-ins, made from archives of
// busybox, nginx and nonewprivs that are at hand. README.md says how critest is run against a node with it.
//
//	go run ./test/cri -busybox FILE -nginx FILE -nonewprivs FILE [-listen 127.0.0.1:5000]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5000", "address of the registry")
	files := map[string]*string{}
	for _, name := range []string{"busybox", "nginx", "nonewprivs"} {
		files[name] = flag.String(name, "", "archive of an image to make stand-ins from")
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bases := map[string]v1.Image{}
	for name, file := range files {
		img, err := tarball.ImageFromPath(*file, nil)
		if err != nil {
			log.Fatalf("read the archive of %s: %v", name, err)
		}
		bases[name] = img
	}
	if err := serve(ctx, *listen, bases); err != nil {
		log.Fatal(err)
	}
}

// serve fills a registry and serves it until ctx ends.
func serve(ctx context.Context, address string, bases map[string]v1.Image) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(os.Stderr, "", 0))), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	defer server.Close()
	if err := fill(ctx, listener.Addr().String(), bases); err != nil {
		return fmt.Errorf("fill the registry: %w", err)
	}
	fmt.Println("serving on", listener.Addr())
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}
