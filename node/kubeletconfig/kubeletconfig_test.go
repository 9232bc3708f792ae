package kubeletconfig

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const header = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func TestParse(t *testing.T) {
	c, ignored, err := parse([]byte(header + "maxPods: 7\nhairpinMode: none\nnodeStatusUpdateFrequency: 3s\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxPods != 7 || c.NodeStatusReportFrequency.Duration != 3*time.Second || *c.ImageGCHighThresholdPercent != 85 {
		t.Errorf("got maxPods %d, report frequency %v, threshold %d", c.MaxPods, c.NodeStatusReportFrequency, *c.ImageGCHighThresholdPercent)
	}
	if !slices.Contains(ignored, "hairpinMode") || slices.Contains(ignored, "maxPods") {
		t.Errorf("ignored fields are %v", ignored)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"kind: Pod\napiVersion: v1\n":                                `is apiVersion "v1", kind "Pod"`,
		"kind: KubeletConfiguration\napiVersion: v1\n":               `want "kubelet.config.k8s.io/v1beta1"`,
		header + "maxPod: 7\n":                                       `unknown field "maxPod"`,
		header + "maxPods: 7\nmaxPods: 8\n":                          "already set in map",
		header + "maxPods: -1\n":                                     "maxPods (--max-pods) -1 must not be a negative number",
		header + "imageGCHighThresholdPercent: 80\n":                 "must be less than imageGCHighThresholdPercent",
		header + "port: 70000\n":                                     "port (--port) 70000 must be between 1 and 65535, inclusive",
		header + "registerWithTaints: [{key: a, effect: Never}]\n":   "taint a:Never",
		header + "topologyManagerPolicy: wild\n":                     `topologyManagerPolicy (--topology-manager-policy) "wild" must be one of`,
		header + "enforceNodeAllocatable: [pods, system-reserved]\n": `systemReservedCgroup (--system-reserved-cgroup) must be specified when "system-reserved" or "system-reserved-compressible" included`,
		header + "enforceNodeAllocatable: [kube-reserved, kube-reserved-compressible]\nkubeReservedCgroup: /k\n":                `both "kube-reserved" and "kube-reserved-compressible" cannot be specified together`,
		header + "enforceNodeAllocatable: [pods, pods]\n":                                                                       `duplicated enforcements "pods"`,
		header + "enforceNodeAllocatable: [pods, none]\n":                                                                       `may not contain additional enforcements when "none" is specified`,
		header + "enforceNodeAllocatable: [all]\n":                                                                              `option "all" specified for enforceNodeAllocatable`,
		header + "cgroupsPerQOS: false\n":                                                                                       `cgroupsPerQOS (--cgroups-per-qos) must be set to true when "pods" contained`,
		header + "reservedSystemCPUs: x\n":                                                                                      "unable to parse reservedSystemCPUs (--reserved-cpus) x, error: ",
		header + "reservedSystemCPUs: '0'\nkubeReservedCgroup: /k\n":                                                            "can't use reservedSystemCPUs (--reserved-cpus) with",
		header + "shutdownGracePeriod: 30s\nshutdownGracePeriodByPodPriority: [{priority: 0, shutdownGracePeriodSeconds: 5}]\n": "Cannot specify both",
		header + "evictionHard: {memory: 100Mi}\n":                                                                              "unsupported eviction signal memory",
		header + "evictionSoft: {memory.available: 100Mi}\n":                                                                    "grace period must be specified for the soft eviction threshold memory.available",
		header + "shutdownGracePeriod: 10ms\n":                                                                                  "must be either zero or otherwise >= 1 sec",
		header + "serializeImagePulls: true\nmaxParallelImagePulls: 2\n":                                                        "cannot be larger than 1",
	} {
		if _, _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", text, err, want)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := validate(Default()); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header + "maxPods: 7\n"))
	f.Add([]byte(header + "crashLoopBackOff: {maxContainerRestartPeriod: 1s}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, _, err := parse(data); err == nil && validate(c) != nil {
			t.Errorf("accepted but not valid: %q", data)
		}
	})
}
