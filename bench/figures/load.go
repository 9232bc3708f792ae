package main

import (
	"context"
	"errors"
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

// apiThroughput measures the server and the ceiling in turn, so that the machine's speed cancels out.
func apiThroughput(ctx context.Context, b *bench) error {
	s, _, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	ceilingConfig := filepath.Join(b.dir, "ceiling.kubeconfig")
	os.Remove(ceilingConfig)
	ceiling := exec.CommandContext(ctx, filepath.Join(b.tools, "ceiling"), "-kubeconfig", ceilingConfig, "-for", "5m")
	ceiling.Dir = b.dir // where it leaves its log
	if err := ceiling.Start(); err != nil {
		return err
	}
	defer ceiling.Wait()
	defer ceiling.Process.Kill()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ceilingConfig); err == nil {
			break
		}
		if time.Since(start) > 10*time.Second {
			return errors.New("the ceiling did not start")
		}
	}
	for _, op := range []struct {
		name string
		n    int
	}{{"write", 20000}, {"read", 30000}} {
		args := []string{op.name, "-n", strconv.Itoa(op.n), "-c", "64"}
		before := cpuTime(s.cmd.Process.Pid)
		ours, err := b.apiload(ctx, s.kubeconfig, args...)
		if err != nil {
			return err
		}
		used := cpuTime(s.cmd.Process.Pid) - before
		limit, err := b.apiload(ctx, ceilingConfig, args...)
		if err != nil {
			return err
		}
		if err := reportThroughput(op.name, op.n, ours, limit, used); err != nil {
			return err
		}
	}
	return nil
}

func reportThroughput(name string, n int, ours, limit string, used time.Duration) error {
	if failed, err := value(ours, "failed"); err != nil || failed != 0 {
		return fmt.Errorf("operations failed: %s", ours)
	}
	var v [4]float64
	for i, q := range []struct{ out, name string }{{ours, "ops_per_s"}, {limit, "ops_per_s"}, {ours, "p50_ms"}, {ours, "p99_ms"}} {
		var err error
		if v[i], err = value(q.out, q.name); err != nil {
			return err
		}
	}
	report("API/op="+name, v[0], "op/s", 100*v[0]/v[1], "%-of-ceiling", v[2], "p50-ms", v[3], "p99-ms", float64(used.Microseconds())/float64(n), "cpu-µs/op")
	return nil
}

// podStart measures pods one by one, then a hundred at once, and what our processes grow by for each.
func podStart(ctx context.Context, b *bench) error {
	archive := ".cache/images/busybox.tar"
	if _, err := os.Stat(archive); err != nil {
		return fmt.Errorf("%w; build it with: go run ./test/images busybox", err)
	}
	// Two clusters, since a node has room for 110 pods and apiload leaves its own there.
	err := b.withCluster(ctx, 1, func(kubeconfig string, _ time.Duration) error {
		if _, err := b.sandbox(ctx, "image-load", clusterName, archive); err != nil {
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
		if _, err := b.sandbox(ctx, "image-load", clusterName, archive); err != nil {
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
