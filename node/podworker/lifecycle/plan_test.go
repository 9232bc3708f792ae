package lifecycle

import (
	"bufio"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/runtime"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata with what the code does")

// TestPlan runs the scripts in testdata/plan. A script builds up a pod and what is observed, line by line,
// and says "plan" or "status" where it wants to see what follows. Times are seconds since the beginning.
//
//	pod [restart=Never] [deadline=30] [grace=10] [hostnetwork]   begins anew
//	init|sidecar|container|ephemeral NAME [startup] [readiness] [liveness] [restart=Never] [rule=CODE:ACTION]
//	network|volumes|sandbox done|failed
//	reboot: containers and sandbox are gone, a new one is to be made
//	image NAME ready|failed
//	NAME created attempt=N | NAME running attempt=N [at=T] | NAME exited attempt=N code=C [at=T] | NAME unhealthy MESSAGE…
//	NAME dropped attempt=N | NAME replacing | NAME reset | NAME ready | NAME started | NAME backoff=SECONDS set=T
//	busy KEY | delete grace=N at=T | gone | torndown | removed | reported | deleted | verdict REASON | reclaim
//	at T: the time from here on
func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts: ", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) { runFile(t, path) })
	}
}

func runFile(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s := &script{t: t}
	sc := bufio.NewScanner(strings.NewReader(string(text)))
	for sc.Scan() {
		line := sc.Text()
		if strings.HasPrefix(line, "  ") {
			continue // an earlier answer
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		for _, answer := range s.do(line) {
			fmt.Fprintln(&out, "  "+answer)
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := out.String(); got != string(text) {
		t.Errorf("differs from %s (run with -rewrite and look at the difference); got:\n%s", path, got)
	}
}

type script struct {
	t   *testing.T
	pod *corev1.Pod
	o   *Observed
	now time.Time
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func seconds(s string) time.Duration {
	f, _ := strconv.ParseFloat(s, 64)
	return time.Duration(f * float64(time.Second))
}

// args are the words of a line: those of the form k=v by name, all by position.
func args(words []string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}

func (s *script) do(line string) []string {
	words := strings.Fields(line)
	a := args(words[1:])
	switch words[0] {
	case "pod":
		s.begin(a)
	case "init", "sidecar", "container", "ephemeral":
		s.add(words[0], words[1], a)
	case "network", "volumes", "sandbox":
		step := map[string]*Step{"network": &s.o.Network, "volumes": &s.o.Volumes, "sandbox": &s.o.Sandbox}[words[0]]
		if words[1] == "done" {
			step.Succeed()
		} else {
			step.Fail(s.now, fmt.Errorf("broken"))
		}
	case "reboot":
		s.reboot()
	case "image":
		s.image(words[1], words[2])
	case "busy":
		s.o.Busy[words[1]] = true
	case "idle":
		s.o.Busy = map[string]bool{}
	case "delete":
		at := metav1.NewTime(s.now)
		n, _ := strconv.ParseInt(a["grace"], 10, 64)
		s.pod.DeletionTimestamp, s.pod.DeletionGracePeriodSeconds = &at, &n
		s.o.KillSince = s.now
	case "gone":
		s.o.Gone = true
	case "torndown":
		s.o.TornDown = true
	case "removed":
		s.o.TornDown, s.o.Removed = true, true
	case "reported":
		s.o.Reported = true
	case "deleted":
		s.o.Deleted = true
	case "verdict":
		s.o.Verdict = &Verdict{Phase: corev1.PodFailed, Reason: words[1],
			Condition: &corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
		s.o.KillSince = s.now
	case "reclaim":
		s.o.Reclaim = true
	case "at":
		s.now = epoch.Add(seconds(words[1]))
	case "plan":
		return s.plan()
	case "status":
		return s.status()
	default:
		s.container(words[0], words[1:])
	}
	return nil
}

func (s *script) begin(a map[string]string) {
	s.now = epoch
	s.pod = newPod()
	s.pod.UID = "uid"
	s.o = &Observed{StartTime: epoch, Containers: map[string]*Record{}, Busy: map[string]bool{}}
	if r := a["restart"]; r != "" {
		s.pod.Spec.RestartPolicy = corev1.RestartPolicy(r)
	}
	if n, err := strconv.ParseInt(a["deadline"], 10, 64); err == nil {
		s.pod.Spec.ActiveDeadlineSeconds = &n
	}
	if n, err := strconv.ParseInt(a["grace"], 10, 64); err == nil {
		s.pod.Spec.TerminationGracePeriodSeconds = &n
	}
	_, s.pod.Spec.HostNetwork = a["hostnetwork"]
}

func (s *script) add(kind, name string, a map[string]string) {
	c := corev1.Container{Name: name, Image: "i"}
	probe := func(k string) *corev1.Probe {
		if _, ok := a[k]; ok {
			return &corev1.Probe{}
		}
		return nil
	}
	c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = probe("startup"), probe("readiness"), probe("liveness")
	if v := a["restart"]; v != "" {
		c.RestartPolicy = (*corev1.ContainerRestartPolicy)(&v)
	}
	if code, action, ok := strings.Cut(a["rule"], ":"); ok {
		n, _ := strconv.ParseInt(code, 10, 32)
		c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleAction(action),
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{int32(n)}}}}
	}
	switch kind {
	case "ephemeral":
		s.pod.Spec.EphemeralContainers = append(s.pod.Spec.EphemeralContainers,
			corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(c)})
	case "sidecar":
		always := corev1.ContainerRestartPolicyAlways
		c.RestartPolicy = &always
		fallthrough
	case "init":
		s.pod.Spec.InitContainers = append(s.pod.Spec.InitContainers, c)
	default:
		s.pod.Spec.Containers = append(s.pod.Spec.Containers, c)
	}
}

func (s *script) reboot() {
	for _, r := range s.o.Containers {
		if r.Running() {
			ended := *r.Current
			ended.State, ended.ExitCode, ended.FinishedAt = runtime.Exited, 137, s.now
			r.Observe(ended)
		}
	}
	s.o.Network, s.o.Volumes, s.o.Sandbox = Step{}, Step{}, Step{}
	s.o.Attempt++
}

func (s *script) image(name, state string) {
	img := &s.o.Record(name).Image
	if state == "ready" {
		img.Ready, img.Failure = true, nil
		return
	}
	img.Backoff.Raise(img.Since, s.now, MaxBackoff)
	img.Failure, img.Since = &Failure{"ErrImagePull", "no such image"}, s.now
}

func (s *script) container(name string, words []string) {
	r := s.o.Record(name)
	a := args(words)
	attempt, _ := strconv.Atoi(a["attempt"])
	st := runtime.ContainerStatus{ID: fmt.Sprintf("%s-%d", name, attempt), Name: name, Attempt: attempt, Image: "i", SandboxID: SandboxID(s.pod, s.o.Attempt)}
	at := s.now
	if v, ok := a["at"]; ok {
		at = epoch.Add(seconds(v))
	}
	switch words[0] {
	case "running":
		st.State, st.StartedAt = runtime.Running, at
		r.Observe(st)
		r.Image = ImageState{}
	case "created":
		st.State, st.CreatedAt = runtime.Created, at
		r.Observe(st)
	case "exited":
		st.State, st.StartedAt, st.FinishedAt = runtime.Exited, at, at
		st.ExitCode, _ = strconv.Atoi(a["code"])
		r.Observe(st)
	case "unhealthy":
		r.Unhealthy = Ailment(strings.Join(words[1:], " "))
	case "dropped":
		r.Drop(st.ID)
	case "replacing":
		r.Replacing = true
	case "reset":
		r.BeginAgain()
	case "ready":
		r.ProbedID, r.Startup, r.Ready = r.Current.ID, true, true
	case "started":
		r.ProbedID, r.Startup = r.Current.ID, true
	default:
		if _, ok := a["backoff"]; !ok {
			s.t.Fatalf("cannot make sense of %s %v", name, words)
		}
		r.Backoff = Backoff{Delay: seconds(a["backoff"]), Set: epoch.Add(seconds(a["set"]))}
	}
}

func (s *script) plan() []string {
	p := Decide(s.pod, s.o, s.now)
	var out []string
	for _, a := range p.Actions {
		out = append(out, a.String())
	}
	if !p.Wake.IsZero() {
		out = append(out, fmt.Sprintf("wake at %v", p.Wake.Sub(epoch).Seconds()))
	}
	if len(out) == 0 {
		out = []string{"nothing"}
	}
	return out
}

func (s *script) status() []string {
	st := Status(s.pod, s.o, nil, s.now)
	line := string(st.Phase)
	if st.Reason != "" {
		line += " reason=" + st.Reason
	}
	for _, c := range st.Conditions {
		if c.Status == corev1.ConditionTrue && c.Type != corev1.PodScheduled {
			line += " " + string(c.Type)
		}
	}
	out := []string{line}
	for _, c := range slices.Concat(st.InitContainerStatuses, st.ContainerStatuses) {
		out = append(out, describeStatus(&c))
	}
	return out
}

func describeStatus(c *corev1.ContainerStatus) string {
	line := c.Name + " "
	switch {
	case c.State.Running != nil:
		line += "running"
	case c.State.Terminated != nil:
		line += fmt.Sprintf("terminated %s %d", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
	case c.State.Waiting != nil:
		line += "waiting " + c.State.Waiting.Reason
	}
	if t := c.LastTerminationState.Terminated; t != nil {
		line += fmt.Sprintf(" last=%s(%d)", t.Reason, t.ExitCode)
	}
	if c.RestartCount > 0 {
		line += fmt.Sprintf(" restarts=%d", c.RestartCount)
	}
	if *c.Started {
		line += " started"
	}
	if c.Ready {
		line += " ready"
	}
	return line
}

func newPod() *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.Generation = "p", "ns", 1
	p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	p.Status.Phase = corev1.PodPending
	return p
}
