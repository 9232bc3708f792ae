// Package kubeletconfig reads a node's settings from the file in which a kubelet finds its own:
// KubeletConfiguration, kubelet.config.k8s.io/v1beta1. Fields left out get upstream's defaults; where Clipper
// differs, Default says so and why.
package kubeletconfig

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/config/v1beta1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// A Configuration is a node's settings. One that Default or Load returned has every field set that has a default.
type Configuration = v1beta1.KubeletConfiguration

var typeMeta = metav1.TypeMeta{Kind: "KubeletConfiguration", APIVersion: v1beta1.SchemeGroupVersion.String()}

// Default returns the settings of a node without a file.
func Default() *Configuration {
	c := &Configuration{TypeMeta: typeMeta}
	complete(c)
	return c
}

// Load reads, completes and checks the settings in file. Fields that are unknown or stand there twice are an
// error; known ones that mean nothing to Clipper are named in a warning.
func Load(file string) (*Configuration, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the kubelet configuration: %w", err)
	}
	c, ignored, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("kubelet configuration %s: %w", file, err)
	}
	if len(ignored) > 0 {
		slog.Warn("Fields of the kubelet configuration have no effect here", "file", file, "fields", ignored)
	}
	return c, nil
}

// parse is Load without the file. ignored are the fields that are set and have no effect.
func parse(data []byte) (c *Configuration, ignored []string, err error) {
	c = &Configuration{}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return nil, nil, err
	}
	if c.TypeMeta != typeMeta {
		return nil, nil, fmt.Errorf("is apiVersion %q, kind %q; want %q, %q", c.APIVersion, c.Kind, typeMeta.APIVersion, typeMeta.Kind)
	}
	var set map[string]any
	if err := yaml.Unmarshal(data, &set); err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if !honoured[name] {
			ignored = append(ignored, name)
		}
	}
	complete(c)
	return c, ignored, validate(c)
}

// honoured are the fields that the node acts upon. Whoever reads a further one adds it here.
var honoured = map[string]bool{
	"address":                                true,
	"allowedUnsafeSysctls":                   true,
	"apiVersion":                             true,
	"authentication":                         true,
	"authorization":                          true,
	"containerLogMaxFiles":                   true,
	"containerLogMaxSize":                    true,
	"containerLogMaxWorkers":                 true,
	"containerLogMonitorInterval":            true,
	"containerRuntimeEndpoint":               true,
	"cpuCFSQuota":                            true,
	"cpuCFSQuotaPeriod":                      true,
	"cpuManagerPolicy":                       true,
	"cpuManagerPolicyOptions":                true,
	"cpuManagerReconcilePeriod":              true,
	"enableContentionProfiling":              true,
	"crashLoopBackOff":                       true,
	"enableControllerAttachDetach":           true,
	"enableDebuggingHandlers":                true,
	"enableProfilingHandler":                 true,
	"enableServer":                           true,
	"enableSystemLogHandler":                 true,
	"enforceNodeAllocatable":                 true,
	"evictionHard":                           true,
	"evictionMaxPodGracePeriod":              true,
	"evictionMinimumReclaim":                 true,
	"evictionPressureTransitionPeriod":       true,
	"evictionSoft":                           true,
	"evictionSoftGracePeriod":                true,
	"failCgroupV1":                           true,
	"failSwapOn":                             true,
	"featureGates":                           true,
	"healthzBindAddress":                     true,
	"healthzPort":                            true,
	"imageGCHighThresholdPercent":            true,
	"imageGCLowThresholdPercent":             true,
	"imageMaximumGCAge":                      true,
	"imageMinimumGCAge":                      true,
	"httpCheckFrequency":                     true,
	"imagePullCredentialsVerificationPolicy": true,
	"imageServiceEndpoint":                   true,
	"kind":                                   true,
	"kubeReserved":                           true,
	"kubeReservedCgroup":                     true,
	"localStorageCapacityIsolation":          true,
	"maxParallelImagePulls":                  true,
	"maxPods":                                true,
	"memoryManagerPolicy":                    true,
	"memorySwap":                             true,
	"mergeDefaultEvictionSettings":           true,
	"nodeLeaseDurationSeconds":               true,
	"nodeStatusMaxImages":                    true,
	"nodeStatusReportFrequency":              true,
	"nodeStatusUpdateFrequency":              true,
	"podLogsDir":                             true,
	"podPidsLimit":                           true,
	"podsPerCore":                            true,
	"port":                                   true,
	"preloadedImagesVerificationAllowlist":   true,
	"providerID":                             true,
	"readOnlyPort":                           true,
	"registerNode":                           true,
	"registerWithTaints":                     true,
	"registryBurst":                          true,
	"registryPullQPS":                        true,
	"reservedMemory":                         true,
	"reservedSystemCPUs":                     true,
	"rotateCertificates":                     true,
	"seccompDefault":                         true,
	"serializeImagePulls":                    true,
	"serverTLSBootstrap":                     true,
	"shutdownGracePeriod":                    true,
	"shutdownGracePeriodByPodPriority":       true,
	"shutdownGracePeriodCriticalPods":        true,
	"singleProcessOOMKill":                   true,
	"streamingConnectionIdleTimeout":         true,
	"systemReserved":                         true,
	"systemReservedCgroup":                   true,
	"topologyManagerPolicy":                  true,
	"topologyManagerPolicyOptions":           true,
	"topologyManagerScope":                   true,
	"staticPodURL":                           true,
	"staticPodURLHeader":                     true,
	"userNamespaces":                         true, "volumeStatsAggPeriod": true,
}

func def[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func defPtr[T any](field **T, value T) {
	if *field == nil {
		*field = ptr.To(value)
	}
}

func defDuration(field *metav1.Duration, value time.Duration) { def(&field.Duration, value) }

// complete fills in the defaults: upstream's, but for those with a comment.
func complete(c *Configuration) {
	completeServer(c)
	completeStatus(c)
	completeImages(c)
	completeResources(c)
	completeEviction(c)
	completeLogs(c)
}

func completeServer(c *Configuration) {
	// Upstream leaves it off unless told otherwise, and its nodes fall silent after a year.
	c.RotateCertificates = true
	defPtr(&c.EnableServer, true)
	def(&c.Port, 10250)
	defPtr(&c.Authentication.Anonymous.Enabled, false)
	defPtr(&c.Authentication.Webhook.Enabled, true)
	defDuration(&c.Authentication.Webhook.CacheTTL, 2*time.Minute)
	def(&c.Authorization.Mode, v1beta1.KubeletAuthorizationModeWebhook)
	defDuration(&c.Authorization.Webhook.CacheAuthorizedTTL, 5*time.Minute)
	defDuration(&c.Authorization.Webhook.CacheUnauthorizedTTL, 30*time.Second)
	defPtr(&c.EnableDebuggingHandlers, true)
	defPtr(&c.EnableProfilingHandler, true)
	defPtr(&c.EnableDebugFlagsHandler, true)
	defPtr(&c.EnableSystemLogHandler, true)
	defPtr(&c.HealthzPort, 10248)
	def(&c.HealthzBindAddress, "127.0.0.1")
	defDuration(&c.StreamingConnectionIdleTimeout, 4*time.Hour)
}

func completeStatus(c *Configuration) {
	if c.NodeStatusUpdateFrequency.Duration != 0 {
		// Who sets only this one means both: the rule before there were two.
		defDuration(&c.NodeStatusReportFrequency, c.NodeStatusUpdateFrequency.Duration)
	}
	defDuration(&c.NodeStatusReportFrequency, 5*time.Minute)
	defDuration(&c.NodeStatusUpdateFrequency, 10*time.Second)
	def(&c.NodeLeaseDurationSeconds, 40)
	defPtr(&c.NodeStatusMaxImages, 50)
	defPtr(&c.RegisterNode, true)
	defDuration(&c.HTTPCheckFrequency, 20*time.Second)
	defPtr(&c.EventRecordQPS, 50)
	def(&c.EventBurst, 100)
	defPtr(&c.EnableControllerAttachDetach, true)
	defDuration(&c.VolumeStatsAggPeriod, time.Minute)
	def(&c.ConfigMapAndSecretChangeDetectionStrategy, v1beta1.WatchChangeDetectionStrategy)
}

func completeImages(c *Configuration) {
	defPtr(&c.RegistryPullQPS, 5)
	def(&c.RegistryBurst, 10)
	defDuration(&c.ImageMinimumGCAge, 2*time.Minute)
	defPtr(&c.ImageGCHighThresholdPercent, 85)
	defPtr(&c.ImageGCLowThresholdPercent, 80)
	def(&c.ImagePullCredentialsVerificationPolicy, v1beta1.NeverVerifyPreloadedImages)
	// Upstream pulls one image after the other unless told otherwise: a rule from runtimes that could do no
	// better.
	defPtr(&c.SerializeImagePulls, false)
}

func completeResources(c *Configuration) {
	def(&c.MaxPods, 110)
	if c.PodPidsLimit == nil || *c.PodPidsLimit < 0 {
		c.PodPidsLimit = ptr.To[int64](-1)
	}
	defPtr(&c.CgroupsPerQOS, true)
	def(&c.CgroupDriver, "cgroupfs")
	defPtr(&c.CPUCFSQuota, true)
	defPtr(&c.CPUCFSQuotaPeriod, metav1.Duration{Duration: 100 * time.Millisecond})
	def(&c.CPUManagerPolicy, "none")
	defDuration(&c.CPUManagerReconcilePeriod, 10*time.Second)
	def(&c.MemoryManagerPolicy, v1beta1.NoneMemoryManagerPolicy)
	def(&c.TopologyManagerPolicy, v1beta1.NoneTopologyManagerPolicy)
	def(&c.TopologyManagerScope, v1beta1.ContainerTopologyManagerScope)
	defPtr(&c.MemoryThrottlingFactor, 0.9)
	// Upstream confines only who asks for it.
	defPtr(&c.SeccompDefault, true)
	// Upstream refuses to start beside swap; a laptop has some, and pods get none of it anyway.
	defPtr(&c.FailSwapOn, false)
	// Upstream refuses version 1 of control groups since 1.35.
	defPtr(&c.FailCgroupV1, false)
	defPtr(&c.OOMScoreAdj, -999)
	if c.EnforceNodeAllocatable == nil {
		c.EnforceNodeAllocatable = []string{"pods"}
	}
	defPtr(&c.CrashLoopBackOff.MaxContainerRestartPeriod, metav1.Duration{Duration: 300 * time.Second})
}

func completeEviction(c *Configuration) {
	defPtr(&c.LocalStorageCapacityIsolation, true)
	defDuration(&c.EvictionPressureTransitionPeriod, 5*time.Minute)
	defPtr(&c.MergeDefaultEvictionSettings, false)
	standard := map[string]string{
		"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%",
		"imagefs.available": "15%", "imagefs.inodesFree": "5%",
	}
	if *c.MergeDefaultEvictionSettings {
		maps.Copy(standard, c.EvictionHard)
		c.EvictionHard = standard
	}
	if c.EvictionHard == nil {
		c.EvictionHard = standard
	}
}

func completeLogs(c *Configuration) {
	def(&c.ContainerLogMaxSize, "10Mi")
	defPtr(&c.ContainerLogMaxFiles, 5)
	defPtr(&c.ContainerLogMaxWorkers, 1)
	defPtr(&c.ContainerLogMonitorInterval, metav1.Duration{Duration: 10 * time.Second})
}
