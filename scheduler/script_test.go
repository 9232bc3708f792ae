package scheduler

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/scheduler/cluster"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into testdata")

// TestScripts runs the scripts of testdata: a block of commands, a line of dashes, what they print.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			e := newScript(t)
			var out strings.Builder
			for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
				commands, want, _ := strings.Cut(block, "\n----")
				e.out.Reset()
				for _, line := range strings.Split(commands, "\n") {
					e.run(strings.TrimSpace(line))
				}
				got := strings.TrimSuffix(e.out.String(), "\n")
				if want = strings.TrimPrefix(want, "\n"); got != want && !*rewrite {
					t.Errorf("%s\n  printed\n%s\n  want\n%s", commands, got, want)
				}
				fmt.Fprintf(&out, "%s\n----\n%s\n\n", commands, got)
			}
			if *rewrite {
				text := strings.ReplaceAll(strings.TrimSpace(out.String())+"\n", "----\n\n", "----\n")
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A script drives a scheduler step by step, with a clock of its own and without goroutines.
type script struct {
	t      *testing.T
	s      *Scheduler
	client *apitest.Client
	now    time.Time
	out    strings.Builder
	uid    int
	pods   map[string]*corev1.Pod
	nodes  map[string]*corev1.Node
}

type noEvents struct{}

func (noEvents) Event(api.Object, string, string, string, ...any) {}

func newScript(t *testing.T) *script {
	e := &script{t: t, client: &apitest.Client{}, now: time.Unix(1_700_000_000, 0), pods: map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}}
	e.s = newScheduler(e.client, noEvents{})
	e.s.now = func() time.Time { return e.now }
	e.s.chance = func(n int) int { return n - 1 } // among equals the first
	return e
}

func (e *script) run(line string) {
	f := strings.Fields(line)
	if len(f) == 0 || strings.HasPrefix(line, "#") {
		return
	}
	args := f[min(2, len(f)):]
	switch f[0] {
	case "node":
		e.node(f[1], args)
	case "remove-node":
		e.s.nodeEvent(api.Event{Type: api.Deleted, Old: e.nodes[f[1]]})
		delete(e.nodes, f[1])
	case "pod":
		e.pod(f[1], args)
	case "delete":
		e.s.podEvent(api.Event{Type: api.Deleted, Old: e.pods[f[1]]})
		e.client.Delete(e.t.Context(), api.Pods.Resource, "default", f[1], metav1.DeleteOptions{})
		delete(e.pods, f[1])
	case "claim", "volume", "class", "service", "budget", "namespace":
		e.object(f[0], f[1], args)
	case "run":
		e.steps()
	case "tick":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			e.t.Fatal(err)
		}
		e.now = e.now.Add(d)
	case "queue":
		all, soon := e.s.queue.Len()
		fmt.Fprintf(&e.out, "%d waiting, %d to be tried\n", all, soon)
	default:
		e.t.Fatalf("unknown command %q", line)
	}
}

// options calls set for each KEY=VALUE; set says whether it knows the key.
func (e *script) options(args []string, set func(key, value string) bool) {
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		if !set(k, v) {
			e.t.Fatalf("unknown option %q", a)
		}
	}
}

func (e *script) node(name string, args []string) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	e.options(args, func(k, v string) bool {
		switch {
		case k == "cpu" || k == "memory" || k == "pods" || strings.Contains(k, "/"):
			n.Status.Allocatable[corev1.ResourceName(k)] = resource.MustParse(v)
		case k == "zone":
			n.Labels[corev1.LabelTopologyZone] = v
		case strings.HasPrefix(k, "l."):
			n.Labels[k[2:]] = v
		case k == "taint":
			key, effect, _ := strings.Cut(v, ":")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffect(effect)})
		case k == "cordoned":
			n.Spec.Unschedulable = true
		case k == "image":
			image, size, _ := strings.Cut(v, "/")
			q := resource.MustParse(size)
			n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{image + ":latest"}, SizeBytes: q.Value()})
		default:
			return false
		}
		return true
	})
	event := api.Event{Type: api.Added, New: n}
	if old := e.nodes[name]; old != nil {
		event.Type, event.Old = api.Modified, old
	}
	e.nodes[name] = n
	e.s.nodeEvent(event)
}

func (e *script) pod(name string, args []string) {
	old := e.pods[name]
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{}}}
	p.Spec.SchedulerName = Name
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "app"}}
	requests := corev1.ResourceList{}
	p.Spec.Containers[0].Resources.Requests = requests
	if old != nil {
		p.UID, p.CreationTimestamp, p.Generation = old.UID, old.CreationTimestamp, old.Generation+1
	} else {
		e.uid++
		p.UID, p.CreationTimestamp = types.UID(fmt.Sprintf("%s-%d", name, e.uid)), metav1.NewTime(e.now.Add(time.Duration(e.uid)*time.Second))
	}
	var affinity corev1.Affinity
	e.options(args, func(k, v string) bool {
		switch {
		case strings.HasPrefix(k, "sel."):
			p.Spec.NodeSelector = map[string]string{k[4:]: v}
		case k == "cpu" || k == "memory" || strings.Contains(k, "/"):
			requests[corev1.ResourceName(k)] = resource.MustParse(v)
		case k == "on":
			p.Spec.NodeName = v
		case k == "ns":
			p.Namespace = v
		case k == "image":
			p.Spec.Containers[0].Image = v
		case k == "priority":
			n, _ := strconv.Atoi(v)
			value := int32(n)
			p.Spec.Priority = &value
		case k == "never":
			policy := corev1.PreemptNever
			p.Spec.PreemptionPolicy = &policy
		case strings.HasPrefix(k, "l."):
			p.Labels[k[2:]] = v
		case k == "hostport":
			n, _ := strconv.Atoi(v)
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostPort: int32(n), Protocol: corev1.ProtocolTCP})
		case k == "gate":
			p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: v})
		case k == "tolerate":
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: v, Operator: corev1.TolerationOpExists})
		case k == "claim":
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: v, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v}}})
		case k == "only":
			affinity.NodeAffinity = &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{v}}}}}}}
		case k == "prefer":
			key, value, _ := strings.Cut(v, ":")
			affinity.NodeAffinity = &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 10,
				Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}}}}}
		case k == "with", k == "with?", k == "apart", k == "apart?":
			podTerm(&affinity, k, v)
		case k == "spread", k == "spread?":
			p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, constraint(k, v))
		default:
			return false
		}
		return true
	})
	p.Spec.Affinity = &affinity
	event := api.Event{Type: api.Added, New: p}
	if old != nil {
		event.Type, event.Old = api.Modified, old
	}
	e.publish(event)
}

// publish shows the scheduler a pod as its view would, and lets the view have it.
func (e *script) publish(event api.Event) {
	p := event.New.(*corev1.Pod)
	e.pods[p.Name] = p
	e.client.Add(api.Pods.Resource, p)
	e.s.podEvent(event)
}

func topologyKey(short string) string {
	return map[string]string{"zone": corev1.LabelTopologyZone, "host": corev1.LabelHostname}[short]
}

// podTerm reads "zone:app=x" into required (with, apart) or preferred (with?, apart?) terms.
func podTerm(a *corev1.Affinity, kind, v string) {
	key, label, _ := strings.Cut(v, ":")
	k, value, _ := strings.Cut(label, ".")
	term := corev1.PodAffinityTerm{TopologyKey: topologyKey(key), LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{k: value}}}
	weighted := []corev1.WeightedPodAffinityTerm{{Weight: 50, PodAffinityTerm: term}}
	switch kind {
	case "with":
		a.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}
	case "with?":
		a.PodAffinity = &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted}
	case "apart":
		a.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}
	case "apart?":
		a.PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted}
	}
}

// constraint reads "zone:1:app.x", hard for spread and soft for spread?.
func constraint(kind, v string) corev1.TopologySpreadConstraint {
	f := strings.Split(v, ":")
	skew, _ := strconv.Atoi(f[1])
	k, value, _ := strings.Cut(f[2], ".")
	c := corev1.TopologySpreadConstraint{TopologyKey: topologyKey(f[0]), MaxSkew: int32(skew), WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{k: value}}}
	if kind == "spread?" {
		c.WhenUnsatisfiable = corev1.ScheduleAnyway
	}
	if len(f) > 3 {
		n, _ := strconv.Atoi(f[3])
		domains := int32(n)
		c.MinDomains = &domains
	}
	return c
}

func (e *script) object(kind, name string, args []string) {
	meta := metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(kind + "-" + name)}
	opts := map[string]string{}
	e.options(args, func(k, v string) bool { opts[k] = v; return true })
	switch kind {
	case "claim":
		class := opts["class"]
		c := &corev1.PersistentVolumeClaim{ObjectMeta: meta}
		c.Spec.StorageClassName, c.Spec.VolumeName = &class, opts["volume"]
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		if opts["volume"] != "" {
			c.Status.Phase = corev1.ClaimBound
		}
		e.client.Add(api.PersistentVolumeClaims.Resource, c)
		e.s.storageEvent(changes[kind])(api.Event{})
	case "volume":
		meta.Namespace = ""
		v := &corev1.PersistentVolume{ObjectMeta: meta}
		v.Spec.StorageClassName, v.Spec.AccessModes = opts["class"], []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}
		v.Status.Phase = corev1.VolumeAvailable
		if zone := opts["zone"]; zone != "" {
			v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}}}}}}
		}
		e.client.Add(api.PersistentVolumes.Resource, v)
		e.s.storageEvent(changes[kind])(api.Event{})
	case "class":
		meta.Namespace = ""
		mode := storagev1.VolumeBindingImmediate
		if _, ok := opts["wait"]; ok {
			mode = storagev1.VolumeBindingWaitForFirstConsumer
		}
		e.client.Add(api.StorageClasses.Resource, &storagev1.StorageClass{ObjectMeta: meta, Provisioner: opts["provisioner"], VolumeBindingMode: &mode})
		e.s.storageEvent(changes[kind])(api.Event{})
	case "service":
		e.client.Add(api.Services.Resource, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": opts["app"]}}})
	case "budget":
		n, _ := strconv.Atoi(opts["allowed"])
		b := &policyv1.PodDisruptionBudget{ObjectMeta: meta}
		b.Spec.Selector, b.Status.DisruptionsAllowed = &metav1.LabelSelector{MatchLabels: map[string]string{"app": opts["app"]}}, int32(n)
		b.Spec.MinAvailable = &intstr.IntOrString{}
		e.client.Add(api.PodDisruptionBudgets.Resource, b)
	}
}

// steps decides until there is nothing to do, and says what was decided. Bindings succeed at once; victims of
// a preemption get their deletion time but stay until the script deletes them.
func (e *script) steps() {
	for {
		o, _ := e.s.step()
		if o == nil {
			return
		}
		if b := o.binding; b != nil {
			fmt.Fprintf(&e.out, "%s -> %s%s\n", b.item.Pod.Name, b.node, volumesOf(b))
			bound := b.item.Pod.DeepCopy()
			bound.Spec.NodeName = b.node
			e.publish(api.Event{Type: api.Modified, Old: b.item.Pod.Pod, New: bound})
			continue
		}
		f := o.failure
		fmt.Fprintf(&e.out, "%s: %s\n", f.pod.Name, f.message)
		if f.nominate != "" {
			fmt.Fprintf(&e.out, "  nominated to %s, preempting %s\n", f.nominate, names(f.victims))
		}
		for _, v := range f.victims {
			next := v.DeepCopy()
			now := metav1.NewTime(e.now)
			next.DeletionTimestamp = &now
			next.Finalizers = []string{"script/grace"}
			next.Status.Conditions = append(next.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler})
			e.publish(api.Event{Type: api.Modified, Old: v, New: next})
		}
		next := e.pods[f.pod.Name].DeepCopy()
		if f.apply(next) {
			e.publish(api.Event{Type: api.Modified, Old: e.pods[f.pod.Name], New: next})
		}
	}
}

func volumesOf(b *binding) string {
	var out string
	for _, v := range b.volumes {
		if v.Volume == nil {
			out += fmt.Sprintf(", %s provisioned", v.Claim.Name)
		} else {
			out += fmt.Sprintf(", %s on %s", v.Claim.Name, v.Volume.Name)
		}
	}
	return out
}

func names(pods []*corev1.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

var changes = map[string]cluster.Change{"claim": cluster.Claims, "volume": cluster.Volumes, "class": cluster.Classes}
