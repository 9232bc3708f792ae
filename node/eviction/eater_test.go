package eviction

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// TestMain lets the test program run as a process that uses as many MiB of memory as it is told to.
func TestMain(m *testing.M) {
	if os.Getenv("EAT_MEMORY") == "" {
		os.Exit(m.Run())
	}
	var kept []byte
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := strconv.Atoi(in.Text())
		if err != nil {
			os.Exit(1)
		}
		more := make([]byte, n<<20)
		for i := range more {
			more[i] = 1
		}
		kept = append(kept[:0:0], more...)
		fmt.Println(len(kept))
	}
}

// startEater starts such a process in a control group and returns what tells it how much to use.
func startEater(t *testing.T, cgroup string) (use func(mib int)) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "EAT_MEMORY=1", "GOGC=20")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	return func(mib int) {
		if _, err := io.WriteString(in, strconv.Itoa(mib)+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}
