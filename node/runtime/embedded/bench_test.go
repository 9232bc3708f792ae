package embedded

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"clipper/node/runtime"
)

// BenchmarkStart is create and start of a container in a sandbox that is there, with the image present.
func BenchmarkStart(b *testing.B) {
	bed := newBed(b)
	sb := bed.sandbox()
	var create, start []time.Duration
	for b.Loop() {
		began := time.Now()
		id := bed.create(sb, "exec sleep 1000")
		created := time.Now()
		bed.start(id)
		create, start = append(create, created.Sub(began)), append(start, time.Since(created))
	}
	b.ReportMetric(median(create), "create-p50-ms")
	b.ReportMetric(median(start), "start-p50-ms")
}

// median is in milliseconds: on a busy machine the mean says more about the neighbours.
func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// BenchmarkPod is a sandbox with one container.
func BenchmarkPod(b *testing.B) {
	bed := newBed(b)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		bed.run(bed.sandbox(), "exec sleep 1000")
		took = append(took, time.Since(began))
	}
	b.ReportMetric(median(took), "p50-ms")
}

// BenchmarkExec is a process in a running container, from request to exit code.
func BenchmarkExec(b *testing.B) {
	bed := newBed(b)
	id := bed.run(bed.sandbox(), "exec sleep 1000")
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		var out bytes.Buffer
		if code, err := bed.rt.Exec(b.Context(), id, runtime.Exec{Command: []string{"true"}, Stdout: &out}); code != 0 || err != nil {
			b.Fatal(code, err)
		}
		took = append(took, time.Since(began))
	}
	b.ReportMetric(median(took), "p50-ms")
}

// BenchmarkBare is what the machine needs for a process in namespaces without any runtime: the floor.
func BenchmarkBare(b *testing.B) {
	box, err := busybox()
	if err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if err := exec.Command("unshare", "-fpmui", box, "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMemory states what the shim costs, and fails where it costs too much.
func TestMemory(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	b.run(sb, "exec sleep 1000")
	pid := b.shimPid()
	burst := pss(t, pid)
	time.Sleep(3 * time.Second) // the shim gives memory back when it has been quiet
	base := pss(t, pid)
	const n = 50
	for range n {
		b.run(sb, "exec sleep 1000")
	}
	grownBurst := pss(t, pid)
	time.Sleep(3 * time.Second)
	grown := pss(t, pid)
	t.Logf("shim with one container: %d kB (just started: %d kB), each further one: %d kB (just started: %d kB)",
		base, burst, (grown-base)/n, (grownBurst-base)/n)
	if base > 8<<10 {
		t.Errorf("the shim takes %d kB", base)
	}
	if per := (grown - base) / n; per > 300 {
		t.Errorf("each container takes %d kB in the shim", per)
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if len(threads) > 30 {
		t.Errorf("%d threads for %d containers", len(threads), n)
	}
	t.Logf("%d threads", len(threads))
}

// pss returns a process's proportional set size in kB.
func pss(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no Pss")
	return 0
}
