package stats

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// An Interface is what has passed through a network interface since it was made.
type Interface struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// The columns of /proc/net/dev after the name.
const (
	columnsPerDirection = 8
	columns             = 2 * columnsPerDirection
)

// interfaces returns those of the network namespace that a process is in.
func interfaces(pid string) []Interface {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%s/net/dev", pid))
	if err != nil {
		return nil // the process has just ended
	}
	return parseInterfaces(data)
}

// parseInterfaces leaves out loopback, as kubelet does, and lines that it does not understand.
func parseInterfaces(data []byte) []Interface {
	var out []Interface
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		name, rest, ok := strings.Cut(sc.Text(), ":")
		fields := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(fields) < columns {
			continue
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(fields[i], 10, 64) // the kernel writes numbers
			return v
		}
		const tx = columnsPerDirection
		out = append(out, Interface{Name: name, RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDropped: n(3),
			TxBytes: n(tx), TxPackets: n(tx + 1), TxErrors: n(tx + 2), TxDropped: n(tx + 3)})
	}
	return out
}

// podInterface is the one that a pod is known by. Upstream's name.
const podInterface = "eth0"

// podNetwork returns what has gone in and out of the pod of a process.
func podNetwork(pid int, when metav1.Time) *statsapi.NetworkStats {
	return network(interfaces(strconv.Itoa(pid)), podInterface, when)
}

// network sums nothing up: main is told beside the list of all.
func network(of []Interface, main string, when metav1.Time) *statsapi.NetworkStats {
	if len(of) == 0 {
		return nil
	}
	out := &statsapi.NetworkStats{Time: when}
	for _, i := range of {
		s := statsapi.InterfaceStats{Name: i.Name, RxBytes: &i.RxBytes, RxErrors: &i.RxErrors, TxBytes: &i.TxBytes, TxErrors: &i.TxErrors}
		out.Interfaces = append(out.Interfaces, s)
		if i.Name == main {
			out.InterfaceStats = s
		}
	}
	return out
}
