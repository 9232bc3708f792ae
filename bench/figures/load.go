package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// apiload runs the load generator and returns what it printed.
func (b *bench) apiload(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(b.tools, "apiload"), append([]string{"-kubeconfig", kubeconfig}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("apiload %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// value reads name=number from what apiload printed.
func value(out, name string) (float64, error) {
	m := regexp.MustCompile(`\b` + name + `=([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no %s in %q", name, out)
	}
	return strconv.ParseFloat(m[1], 64)
}

func values(out string, names ...string) ([]float64, error) {
	all := make([]float64, len(names))
	for i, name := range names {
		var err error
		if all[i], err = value(out, name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// podStart measures pods one by one, then a hundred at once, and what our processes grow by for each.
func podStart(ctx context.Context, b *bench) error {
	if _, err := os.Stat(busyboxArchive); err != nil {
		return fmt.Errorf("%w; build it with: go run ./test/images busybox", err)
	}
	// Two clusters, since a node has room for 110 pods and apiload leaves its own there.
	err := b.withCluster(ctx, 1, func(kubeconfig string, _ time.Duration) error {
		if _, err := b.sandbox(ctx, "image-load", clusterName, busyboxArchive); err != nil {
			return err
		}
		out, err := b.apiload(ctx, kubeconfig, "podstart", "-n", "30", "-burst", "1", "-image", "busybox:1.36")
		if err != nil {
			return err
		}
		return reportSingle(out)
	})
	if err != nil {
		return err
	}
	return b.withCluster(ctx, 1, func(kubeconfig string, _ time.Duration) error {
		if _, err := b.sandbox(ctx, "image-load", clusterName, busyboxArchive); err != nil {
			return err
		}
		before, err := b.footprint()
		if err != nil {
			return err
		}
		type outcome struct {
			out string
			err error
		}
		done := make(chan outcome, 1)
		go func() {
			out, err := b.apiload(ctx, kubeconfig, "podstart", "-n", "1", "-burst", "100", "-image", "busybox:1.36")
			done <- outcome{out, err}
		}()
		peak := before // apiload removes its pods at the end, so the most that was there is what counts
		for {
			select {
			case o := <-done:
				if o.err != nil {
					return o.err
				}
				return reportBurst(o.out, before, peak)
			case <-time.After(200 * time.Millisecond):
				if now, err := b.footprint(); err == nil && now.pods >= peak.pods {
					peak = now
				}
			}
		}
	})
}

func reportSingle(out string) error {
	p50, err := value(out, "p50_ms")
	if err != nil {
		return err
	}
	p99, err := value(out, "p99_ms")
	if err != nil {
		return err
	}
	report("PodStart/one", p50, "p50-ms", p99, "p99-ms")
	return nil
}

func reportBurst(out string, before, after footprint) error {
	burst, err := value(out, "burst_s")
	if err != nil {
		return err
	}
	report("PodStart/burst=100", burst, "s")
	if grown := after.pods - before.pods; grown > 0 {
		report("PodMemory", float64(after.pss-before.pss)/float64(grown)/(1<<20), "MB/pod")
	}
	return nil
}
