package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// withCeiling starts the server that does next to nothing, hands its kubeconfig to fn and stops it.
func (b *bench) withCeiling(ctx context.Context, fn func(kubeconfig string) error) error {
	config := filepath.Join(b.dir, "ceiling.kubeconfig")
	os.Remove(config)
	ceiling := exec.CommandContext(ctx, filepath.Join(b.tools, "ceiling"), "-kubeconfig", config, "-for", "30m")
	ceiling.Dir = b.dir // where it leaves its log
	if err := ceiling.Start(); err != nil {
		return err
	}
	defer ceiling.Wait()
	defer ceiling.Process.Kill()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(config); err == nil {
			return fn(config)
		}
	}
	return errors.New("the ceiling did not start")
}

// withServer starts a control plane on a new data directory, hands it to fn and stops it.
func (b *bench) withServer(ctx context.Context, fn func(s *server) error) error {
	s, _, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.stop())
}

// loaded runs apiload against s and returns what it printed and the processor time that it cost the server.
func (b *bench) loaded(ctx context.Context, s *server, args ...string) (out string, used time.Duration, err error) {
	before := cpuTime(s.cmd.Process.Pid)
	out, err = b.apiload(ctx, s.kubeconfig, args...)
	return out, cpuTime(s.cmd.Process.Pid) - before, err
}

func perOperation(used time.Duration, n int) float64 {
	return float64(used.Microseconds()) / float64(n)
}

// apiThroughput measures the server and the ceiling in turn, so that the machine's speed cancels out.
func apiThroughput(ctx context.Context, b *bench) error {
	return b.withServer(ctx, func(s *server) error {
		return b.withCeiling(ctx, func(ceiling string) error {
			for _, op := range []struct {
				name string
				n    int
			}{{"write", 20000}, {"read", 30000}} {
				args := []string{op.name, "-n", strconv.Itoa(op.n), "-c", "64"}
				ours, used, err := b.loaded(ctx, s, args...)
				if err != nil {
					return err
				}
				limit, err := b.apiload(ctx, ceiling, args...)
				if err != nil {
					return err
				}
				if err := reportThroughput(op.name, op.n, ours, limit, used); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func reportThroughput(name string, n int, ours, limit string, used time.Duration) error {
	if failed, err := value(ours, "failed"); err != nil || failed != 0 {
		return fmt.Errorf("operations failed: %s", ours)
	}
	v, err := values(ours, "ops_per_s", "p50_ms", "p99_ms")
	if err != nil {
		return err
	}
	most, err := values(limit, "ops_per_s", "p99_ms")
	if err != nil {
		return err
	}
	report("API/op="+name, v[0], "op/s", 100*v[0]/most[0], "%-of-ceiling", v[1], "p50-ms", v[2], "p99-ms",
		most[1], "ceiling-p99-ms", perOperation(used, n), "cpu-µs/op")
	return nil
}

// lists measures lists of 20,000 objects in both wire formats. The ceiling's takes the time of encoding, of
// transport and of decoding in the client, which is most of it.
func lists(ctx context.Context, b *bench) error {
	const objects, n = 20000, 10
	fill := []string{"write", "-n", strconv.Itoa(objects), "-c", "64"}
	list := []string{"list", "-n", strconv.Itoa(n)}
	return b.withServer(ctx, func(s *server) error {
		return b.withCeiling(ctx, func(ceiling string) error {
			for _, config := range []string{s.kubeconfig, ceiling} {
				if _, err := b.apiload(ctx, config, fill...); err != nil {
					return err
				}
			}
			limit, err := b.apiload(ctx, ceiling, list...)
			if err != nil {
				return err
			}
			most, err := value(limit, "p50_ms")
			if err != nil {
				return err
			}
			for _, format := range []string{"protobuf", "json"} {
				args := list
				if format == "json" {
					args = append([]string{"-json"}, list...)
				}
				out, used, err := b.loaded(ctx, s, args...)
				if err != nil {
					return err
				}
				p50, err := value(out, "p50_ms")
				if err != nil {
					return err
				}
				report("List/objects=20000/format="+format, p50, "p50-ms", most, "ceiling-p50-ms", used.Seconds()*1e3/n, "cpu-ms/op")
			}
			return nil
		})
	})
}

// fanOut measures 200 watchers that see 1,000 writes. Half of the processor goes to the client's decoding.
func fanOut(ctx context.Context, b *bench) error {
	const watchers, writes = 200, 1000
	return b.withServer(ctx, func(s *server) error {
		out, used, err := b.loaded(ctx, s, "watch", "-w", strconv.Itoa(watchers), "-n", strconv.Itoa(writes))
		if err != nil {
			return err
		}
		v, err := values(out, "delivered", "events_per_s", "ops_per_s")
		if err != nil {
			return err
		}
		if v[0] != watchers*writes {
			return fmt.Errorf("%v of %d events were delivered", v[0], watchers*writes)
		}
		report("Watch/watchers=200", v[1], "events/s", v[2], "writes/s", perOperation(used, watchers*writes), "cpu-µs/event")
		return nil
	})
}
