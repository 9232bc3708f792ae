// Command figures measures the whole product from outside, as its users meet it: how soon it is there,
// what it costs when idle, how fast pods start, what the API does beside a server that does next to
// nothing. It prints lines that benchstat reads; run it twice, before and after, and compare.
//
//	figures [-count N] [-clipper FILE] [FIGURE...]
//
// It needs root. Clusters live in network namespaces of their own and are removed again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// A figure measures something once and prints it.
type figure struct {
	name, what string
	measure    func(ctx context.Context, b *bench) error
}

var figures = []figure{
	{"readyz", "control plane alone: process start to /readyz 200", readyz},
	{"sandbox1", "one-node cluster from nothing to Ready", func(ctx context.Context, b *bench) error { return b.create(ctx, 1) }},
	{"sandbox3", "three-node cluster from nothing to all Ready", func(ctx context.Context, b *bench) error { return b.create(ctx, 3) }},
	{"api", "writes and reads of 64 clients, as a share of what the client and transport allow", apiThroughput},
	{"list", "lists of 20,000 objects, in protobuf and JSON, beside the ceiling's", lists},
	{"watch", "1,000 writes seen by 200 watchers", fanOut},
	{"watchprofile", "what the server's processor time goes to meanwhile: a share of each part", fanOutProfile},
	{"stored", "50,000 objects of 1 KB: memory, and the start with them (takes eight minutes)", storedObjects},
	{"definitions", "200 definitions of 29 KB: to create, to publish, to keep, the start with them (takes six minutes)", definitions},
	{"definitions1000", "the same for 1,000 of 10 KB (takes seven minutes)", manyDefinitions},
	{"server", "memory of an idle control plane without a node after a minute", idleServer},
	{"runc", "runc run of the same container: the floor of what starting a pod can take", runcRun},
	{"pods", "create to Running, one at a time and 100 at once; memory of ours per pod", podStart},
	{"pods500", "500 probed pods on a node: all Ready; memory of ours per pod; its agent killed and there again; all gone", pods500},
	{"exec", "kubectl exec POD -- true, over the start of kubectl itself", execs},
	{"probes", "processor of a node with 100 idle pods, each with two probes every ten seconds (takes two minutes)", probed},
	{"idle", "memory and processor of an idle one-node cluster after two minutes (takes four)", idle},
}

// A bench is where the figures are measured.
type bench struct {
	clipper string
	dir     string // scratch, removed at the end
	tools   string // apiload and ceiling
}

func main() {
	count := flag.Int("count", 1, "how often to measure each figure")
	clipper := flag.String("clipper", "bin/clipper", "the binary to measure")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: figures [-count N] [-clipper FILE] [FIGURE...]")
		for _, f := range figures {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-16s %s\n", f.name, f.what)
		}
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *clipper, *count, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, clipper string, count int, names []string) error {
	clipper, err := filepath.Abs(clipper)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "clipper-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{clipper: clipper, dir: dir, tools: dir}
	for tool, pkg := range map[string]string{"apiload": "./bench/apiload", "ceiling": "./bench/apiload/ceiling"} {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, tool), pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s (run this in the top folder): %w\n%s", tool, err, out)
		}
	}
	fmt.Println("goos: linux")
	fmt.Println("pkg: clipper/bench/figures")
	for _, f := range figures {
		if len(names) > 0 && !contains(names, f.name) {
			continue
		}
		for range count {
			if err := f.measure(ctx, b); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// report prints one measurement in the form of a Go benchmark: pairs of value and unit.
func report(name string, pairs ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s 1", name)
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, " %.4g %s", pairs[i], pairs[i+1])
	}
	fmt.Println(b.String())
}
