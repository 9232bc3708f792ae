package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubelet/config/v1beta1"
	"k8s.io/utils/ptr"

	"clipper/node/credential"
	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
)

// registry is a runtime's images with a registry behind them that wants passwords.
type registry struct {
	runtime.Images
	mu       sync.Mutex
	present  map[string]runtime.Image
	offers   map[string]string // image → password, "" for none
	pulls    []string          // with what, in order
	takes    time.Duration
	under    int
	most     int // pulls at the same time
	inspects error
}

func (r *registry) ImageStatus(_ context.Context, ref string) (runtime.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inspects != nil {
		return runtime.Image{}, r.inspects
	}
	if img, ok := r.present[ref]; ok {
		return img, nil
	}
	return runtime.Image{}, runtime.ErrNotFound
}

func (r *registry) ListImages(context.Context) (out []runtime.Image, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, img := range r.present {
		out = append(out, img)
	}
	return out, nil
}

func (r *registry) PullImage(ctx context.Context, ref string, auth []runtime.PullAuth) (runtime.Image, error) {
	r.mu.Lock()
	r.under++
	r.most = max(r.most, r.under)
	r.mu.Unlock()
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.under--
	with := ""
	if len(auth) > 0 {
		with = auth[0].Password
	}
	r.pulls = append(r.pulls, strings.TrimSuffix(ref+" "+with, " "))
	want, ok := r.offers[ref]
	switch {
	case !ok:
		return runtime.Image{}, fmt.Errorf("%s: not found", ref)
	case want == "unreachable":
		return runtime.Image{}, fmt.Errorf("dial: %w", runtime.ErrUnreachable)
	case strings.HasPrefix(want, "!"):
		return runtime.Image{}, errors.New(want[1:])
	case want != with && want != "":
		return runtime.Image{}, fmt.Errorf("denied to %q", with)
	}
	r.present[ref] = runtime.Image{ID: "sha256:" + ref, Tags: []string{ref}, Size: 7}
	return r.present[ref], nil
}

// rig is a node with that registry.
type rig struct {
	t        *testing.T
	dir      string
	images   *registry
	settings *kubeletconfig.Configuration
	secrets  map[string]*corev1.Secret
	puller   *Puller
	events   []string
}

func newRig(t *testing.T, change func(*kubeletconfig.Configuration)) *rig {
	r := &rig{t: t, dir: t.TempDir(), images: &registry{present: map[string]runtime.Image{}, offers: map[string]string{}},
		settings: kubeletconfig.Default(), secrets: map[string]*corev1.Secret{}}
	if change != nil {
		change(r.settings)
	}
	r.restart()
	return r
}

// restart is a new agent on the same node.
func (r *rig) restart() {
	r.t.Helper()
	finder, err := credential.Open(credential.Config{Dirs: []string{r.dir}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.puller, err = New(Config{Images: r.images, Settings: r.settings, Dir: filepath.Join(r.dir, "image_manager"), Logins: finder.Logins,
		Secret: func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
			if s := r.secrets[namespace+"/"+name]; s != nil {
				return s, nil
			}
			return nil, errors.New("not found")
		}})
	if err == nil {
		err = r.puller.Recover(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) secret(namespace, name, password string) {
	r.secrets[namespace+"/"+name] = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"r.io":{"username":"u","password":%q}}}`, password)},
	}
}

// ensure asks for an image in the name of a pod with these pull secrets and returns the failure's reason and message.
func (r *rig) ensure(image string, policy corev1.PullPolicy, namespace string, secrets ...string) string {
	r.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	for _, s := range secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	tell := func(eventType, reason, format string, args ...any) {
		r.events = append(r.events, eventType+" "+reason+" "+fmt.Sprintf(format, args...))
	}
	f := r.puller.Ensure(r.t.Context(), Request{Pod: pod, Image: image, Policy: policy, Tell: tell, TellPod: tell})
	if f == nil {
		return ""
	}
	return f.Reason + ": " + f.Message
}

func (r *rig) want(step, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s:\n got %q\nwant %q", step, got, want)
	}
}

// pulled returns what was asked of the registry since the last call.
func (r *rig) pulled() string {
	defer func() { r.images.pulls = nil }()
	return strings.Join(r.images.pulls, ", ")
}

func TestPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.images.offers["r.io/app:1"] = ""
		r.images.present["local:latest"] = runtime.Image{ID: "sha256:local"}
		r.images.takes = 1500 * time.Millisecond
		for _, tc := range []struct {
			image  string
			policy corev1.PullPolicy
			fails  string
			events []string
		}{
			{"r.io/app:1", corev1.PullNever, `ErrImageNeverPull: Container image "r.io/app:1" is not present with pull policy of Never`,
				[]string{`Warning ErrImageNeverPull Container image "r.io/app:1" is not present with pull policy of Never`}},
			{"r.io/app:1", corev1.PullIfNotPresent, "", []string{`Normal Pulling Pulling image "r.io/app:1"`,
				`Normal Pulled Successfully pulled image "r.io/app:1" in 1.5s (1.5s including waiting). Image size: 7 bytes.`}},
			{"r.io/app:1", corev1.PullIfNotPresent, "", []string{`Normal Pulled Container image "r.io/app:1" already present on machine and can be accessed by the pod`}},
			{"local", corev1.PullNever, "", []string{`Normal Pulled Container image "local" already present on machine and can be accessed by the pod`}},
			{"local", corev1.PullAlways, `ErrImagePull: local:latest: not found`,
				[]string{`Normal Pulling Pulling image "local"`, `Warning Failed Failed to pull image "local": local:latest: not found`}},
			{"Bad//Name", corev1.PullNever, `InvalidImageName: Failed to apply default image tag "Bad//Name": couldn't parse image name "Bad//Name": invalid reference format: repository name (/Name) must be lowercase`,
				[]string{`Warning InspectFailed Failed to apply default image tag "Bad//Name": couldn't parse image name "Bad//Name": invalid reference format: repository name (/Name) must be lowercase`}},
		} {
			r.events = nil
			step := tc.image + " " + string(tc.policy)
			r.want(step, r.ensure(tc.image, tc.policy, "ns"), tc.fails)
			r.want(step, strings.Join(r.events, "\n"), strings.Join(tc.events, "\n"))
		}
		r.images.inspects = errors.New("disk on fire")
		r.want("inspect", r.ensure("local", corev1.PullNever, "ns"), `ImageInspectError: Failed to inspect image "": disk on fire`)
	})
}

func TestReasonsThatRuntimesGive(t *testing.T) {
	r := newRig(t, nil)
	r.images.offers["r.io/a:1"] = "!SignatureValidationFailed: nobody has signed it"
	r.images.offers["r.io/b:1"] = "!RegistryUnavailable: it is out to lunch"
	r.want("a", r.ensure("r.io/a:1", corev1.PullAlways, "ns"),
		"SignatureValidationFailed: image pull failed for r.io/a:1 because the signature validation failed: nobody has signed it")
	r.want("b", r.ensure("r.io/b:1", corev1.PullAlways, "ns"),
		"RegistryUnavailable: image pull failed for r.io/b:1 because the registry is unavailable: it is out to lunch")
}

// TestImportedStandsIn: only what was imported, and only where no registry answers.
func TestImportedStandsIn(t *testing.T) {
	synctest.Test(t, testImportedStandsIn)
}

func testImportedStandsIn(t *testing.T) {
	r := newRig(t, nil)
	for image, offer := range map[string]string{"imported": "unreachable", "pulled": "unreachable", "refused": "!denied"} {
		r.images.present[image+":latest"] = runtime.Image{ID: image, Imported: image != "pulled"}
		r.images.offers[image+":latest"] = offer
	}
	r.want("imported", r.ensure("imported", corev1.PullAlways, "ns"), "")
	r.want("imported", strings.Join(r.events, "\n"), `Normal Pulling Pulling image "imported"
Normal Pulled Container image "imported" already present on machine and can be accessed by the pod`)
	for i := range 30 { // more than the pace allows
		r.want(fmt.Sprint(i), r.ensure("imported", corev1.PullAlways, "ns"), "")
	}
	time.Sleep(time.Second) // the registries of the others may be asked again
	r.want("pulled", r.ensure("pulled", corev1.PullAlways, "ns"), "ErrImagePull: dial: registry is unreachable")
	r.want("refused", r.ensure("refused", corev1.PullAlways, "ns"), "ErrImagePull: denied")
}

func TestLoginsAreTriedInOrder(t *testing.T) {
	r := newRig(t, nil)
	r.images.offers["r.io/app:1"] = "right"
	r.secret("ns", "old", "wrong")
	r.secret("ns", "new", "right")
	r.want("all", r.ensure("r.io/app:1", corev1.PullAlways, "ns", "old", "new"), "")
	r.want("all", r.pulled(), "r.io/app:1 wrong, r.io/app:1 right")
	r.want("one", r.ensure("r.io/app:1", corev1.PullAlways, "ns", "old"), `ErrImagePull: denied to "wrong"`)
	r.events = nil
	r.want("none", r.ensure("r.io/app:1", corev1.PullAlways, "ns", "gone"), `ErrImagePull: denied to ""`)
	r.want("none", r.events[0], "Warning FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (gone); attempting to pull the image may not succeed.")
}

// TestVerification: an image that one pod's password has brought is not another pod's.
func TestVerification(t *testing.T) {
	r := newRig(t, nil)
	r.images.offers["r.io/app:1"] = "right"
	r.images.present["preloaded:1"] = runtime.Image{ID: "sha256:preloaded"}
	r.secret("a", "s", "right")
	r.secret("b", "s", "wrong")
	r.secret("c", "other", "right")
	denied := `ErrImagePull: denied to `
	r.want("first", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a", "s"), "")
	for _, agent := range []string{"same", "next"} {
		r.pulled()
		r.want(agent+" same secret", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a", "s"), "")
		r.want(agent+" same password elsewhere", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "c", "other"), "")
		r.want(agent+" preloaded", r.ensure("preloaded:1", corev1.PullIfNotPresent, "b"), "")
		r.want(agent+" pulls", r.pulled(), "")
		r.want(agent+" no secret", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "b"), denied+`""`)
		r.want(agent+" wrong secret", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "b", "s"), denied+`"wrong"`)
		r.want(agent+" never", r.ensure("r.io/app:1", corev1.PullNever, "b"), `ErrImageNeverPull: Container image "r.io/app:1" is not present with pull policy of Never`)
		r.restart()
	}
	r.secret("a", "s", "changed") // by its name it is still the one that was good
	r.pulled()
	r.want("changed", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a", "s"), "")
	r.want("changed", r.pulled(), "")
}

func TestVerificationPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy             v1beta1.ImagePullCredentialsVerificationPolicy
		allow              []string
		pulled, preloaded1 bool // usable without a login
		preloaded2         bool
	}{
		{v1beta1.NeverVerify, nil, true, true, true},
		{v1beta1.NeverVerifyPreloadedImages, nil, false, true, true},
		{v1beta1.NeverVerifyAllowlistedImages, []string{"r.io/team/*"}, false, true, false},
		{v1beta1.NeverVerifyAllowlistedImages, []string{"r.io/team/pre", "r.io/app"}, true, true, false},
		{v1beta1.AlwaysVerify, nil, false, false, false},
	} {
		r := newRig(t, func(c *kubeletconfig.Configuration) {
			c.ImagePullCredentialsVerificationPolicy, c.PreloadedImagesVerificationAllowlist = tc.policy, tc.allow
		})
		r.images.offers["r.io/app:1"] = "right"
		r.secret("a", "s", "right")
		r.images.present["r.io/team/pre:1"] = runtime.Image{ID: "sha256:1"}
		r.images.present["r.io/other/pre:1"] = runtime.Image{ID: "sha256:2"}
		r.want("first", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a", "s"), "")
		for image, want := range map[string]bool{"r.io/app:1": tc.pulled, "r.io/team/pre:1": tc.preloaded1, "r.io/other/pre:1": tc.preloaded2} {
			if got := r.ensure(image, corev1.PullNever, "b") == ""; got != want {
				t.Errorf("%s %v: %s usable without a login: %v", tc.policy, tc.allow, image, got)
			}
		}
	}
}

// TestKilledWhilePulling: the agent ends after the image has arrived and before that is noted. The image was not
// put there by hand, so nobody may use it unseen.
func TestKilledWhilePulling(t *testing.T) {
	r := newRig(t, nil)
	r.images.offers["r.io/app:1"] = "right"
	if err := r.puller.history.begin("r.io/app:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.images.PullImage(t.Context(), "r.io/app:1", []runtime.PullAuth{{Password: "right"}}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.want("without login", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "b"), `ErrImagePull: denied to ""`)
	if left, err := os.ReadDir(filepath.Join(r.dir, "image_manager", "pulling")); err != nil || len(left) != 0 {
		t.Errorf("intents that are left: %v, %v", left, err)
	}
}

func TestSpoiltRecord(t *testing.T) {
	r := newRig(t, nil)
	r.images.offers["r.io/app:1"] = ""
	r.want("first", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a"), "")
	file := fileOf(filepath.Join(r.dir, "image_manager", "pulled"), "sha256:r.io/app:1")
	if err := os.Truncate(file, 10); err != nil {
		t.Fatal(err)
	}
	r.pulled()
	r.want("again", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a"), "")
	r.want("again", r.pulled(), "r.io/app:1")
	r.want("mended", r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a"), "")
	r.want("mended", r.pulled(), "")
}

func TestRecordsOfImagesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.images.offers["r.io/a:1"], r.images.offers["r.io/b:1"] = "", ""
		r.want("a", r.ensure("r.io/a:1", corev1.PullAlways, "ns"), "")
		delete(r.images.present, "r.io/a:1")
		time.Sleep(pruneEvery)
		r.want("b", r.ensure("r.io/b:1", corev1.PullAlways, "ns"), "")
		left, err := os.ReadDir(filepath.Join(r.dir, "image_manager", "pulled"))
		if err != nil || len(left) != 1 {
			t.Errorf("got %v, %v; want the record of b alone", left, err)
		}
	})
}

func TestPaceAndTurns(t *testing.T) {
	for _, tc := range []struct {
		name         string
		change       func(*kubeletconfig.Configuration)
		most, failed int
	}{
		{"defaults", nil, 10, 2}, // 5 a second after the first 10
		{"no limit", func(c *kubeletconfig.Configuration) { c.RegistryPullQPS = ptr.To[int32](0) }, 12, 0},
		{"serial", func(c *kubeletconfig.Configuration) { c.SerializeImagePulls = ptr.To(true) }, 1, 0},
		{"four", func(c *kubeletconfig.Configuration) {
			c.MaxParallelImagePulls, c.RegistryPullQPS = ptr.To[int32](4), ptr.To[int32](0)
		}, 4, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, tc.change)
			r.images.takes = time.Second
			var wg sync.WaitGroup
			var mu sync.Mutex
			failed := 0
			for i := range 12 {
				r.images.offers[fmt.Sprintf("r.io/app:%d", i)] = ""
			}
			for image := range r.images.offers {
				wg.Go(func() {
					tell := func(string, string, string, ...any) {}
					if f := r.puller.Ensure(t.Context(), Request{Pod: &corev1.Pod{}, Image: image, Policy: corev1.PullAlways, Tell: tell, TellPod: tell}); f != nil {
						mu.Lock()
						defer mu.Unlock()
						failed++
						r.want(tc.name, f.Message, "pull QPS exceeded")
					}
				})
			}
			wg.Wait()
			if r.images.most != tc.most || failed != tc.failed {
				t.Errorf("%s: %d at the same time, %d refused; want %d, %d", tc.name, r.images.most, failed, tc.most, tc.failed)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.images.offers["r.io/app:1"] = "right"
	r.secret("a", "s", "right")
	r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a", "s") // pulled
	r.ensure("r.io/app:1", corev1.PullIfNotPresent, "a", "s") // there
	r.ensure("r.io/app:1", corev1.PullIfNotPresent, "b")      // not for everyone
	r.ensure("r.io/app:1", corev1.PullAlways, "a", "s")
	r.ensure("r.io/none:1", corev1.PullNever, "a")
	r.ensure("Bad//Name", corev1.PullNever, "a")
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.puller.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			got = append(got, fmt.Sprintf("%s %s %v", strings.TrimPrefix(f.GetName(), "kubelet_"), strings.Join(labels, ","), m.Counter.GetValue()))
		}
	}
	r.want("metrics", strings.Join(got, "\n"), `image_manager_ensure_image_requests_total false,ifnotpresent,true 1
image_manager_ensure_image_requests_total false,never,unknown 1
image_manager_ensure_image_requests_total true,ifnotpresent,false 1
image_manager_ensure_image_requests_total true,ifnotpresent,true 1
image_manager_ensure_image_requests_total unknown,always,true 1
image_manager_ensure_image_requests_total unknown,never,unknown 1
imagemanager_image_mustpull_checks_total credentialRecordFound 1
imagemanager_image_mustpull_checks_total mustAuthenticate 1`)
}
