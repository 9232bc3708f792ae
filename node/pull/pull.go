// Package pull makes sure that a pod's images are on the node, as a v1.36 kubelet does: it applies pull
// policies, paces pulls, offers a registry the pod's logins, and remembers with which logins an image came, so
// that a pod without them cannot use it because another pod's were good (credential verification).
//
// When to try again is the caller's: a Failure says what happened once.
package pull

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/image/reference"
	"clipper/node/credential"
	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
)

// Reasons of failures, as container statuses show them.
const (
	InvalidImageName          = "InvalidImageName"
	ImageInspectError         = "ImageInspectError"
	ErrImageNeverPull         = "ErrImageNeverPull"
	ErrImagePull              = "ErrImagePull"
	RegistryUnavailable       = "RegistryUnavailable"
	SignatureValidationFailed = "SignatureValidationFailed"
	eventInspectFailed        = "InspectFailed"
)

// A Failure is why there is no image: a reason and a message for the container's status.
type Failure struct{ Reason, Message string }

// BacksOff reports whether a failure for this reason is a registry's, which is asked again less and less often.
// The others are looked at again as often as the pod is.
func BacksOff(reason string) bool {
	return reason == ErrImagePull || reason == RegistryUnavailable || reason == SignatureValidationFailed
}

// A Request asks for one image.
type Request struct {
	Pod    *corev1.Pod
	Image  string // as the pod names it
	Policy corev1.PullPolicy
	// Tell records an event about what needs the image, a container or a pod; TellPod one about the pod.
	Tell, TellPod func(eventType, reason, format string, args ...any)
}

// Config is what a Puller needs. All fields are required.
type Config struct {
	Images   runtime.Images
	Settings *kubeletconfig.Configuration
	// Dir is where records of pulls are kept, in the form of a kubelet's image_manager folder.
	Dir string
	// Secret reads a pull secret.
	Secret func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Logins returns what to show the registry of a repository.
	Logins func(ctx context.Context, pod *corev1.Pod, secrets []*corev1.Secret, repository string) ([]credential.Login, error)
}

// A Puller makes sure of images. Its methods may be called concurrently.
type Puller struct {
	cfg     Config
	pace    flowcontrol.RateLimiter // nil: none
	turns   chan struct{}           // a place for each pull at the same time; nil: any number
	history *history
	verify  verification
	metrics metrics
}

// New returns a Puller. Recover must come before the first Ensure.
func New(cfg Config) (*Puller, error) {
	p := &Puller{cfg: cfg, verify: verificationOf(cfg.Settings), metrics: newMetrics()}
	if qps := *cfg.Settings.RegistryPullQPS; qps > 0 {
		p.pace = flowcontrol.NewTokenBucketRateLimiter(float32(qps), int(cfg.Settings.RegistryBurst))
	}
	switch parallel := cfg.Settings.MaxParallelImagePulls; {
	case *cfg.Settings.SerializeImagePulls:
		p.turns = make(chan struct{}, 1)
	case parallel != nil:
		p.turns = make(chan struct{}, *parallel)
	}
	var err error
	p.history, err = openHistory(cfg.Dir)
	return p, err
}

// Recover looks at what an earlier agent was pulling when it ended.
func (p *Puller) Recover(ctx context.Context) error { return p.history.recover(ctx, p.cfg.Images) }

// Ensure makes the image present and usable by the pod as the policy says. It tells events on the way.
func (p *Puller) Ensure(ctx context.Context, r Request) *Failure {
	f := finding{present: unknown, pull: unknown}
	defer func() { p.metrics.count(r, f) }()
	image, repository, err := WithTag(r.Image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", r.Image, err)
		r.Tell(corev1.EventTypeWarning, eventInspectFailed, "%s", message)
		return &Failure{InvalidImageName, message}
	}
	secrets := p.secrets(ctx, r)
	logins := sync.OnceValues(func() ([]credential.Login, error) {
		return p.cfg.Logins(ctx, r.Pod, secrets, repository)
	})
	if r.Policy != corev1.PullAlways {
		done, fail := p.present(ctx, r, image, logins, &f)
		if done || fail != nil {
			return fail
		}
	}
	f.pull = "true"
	found, err := logins()
	if err != nil {
		return &Failure{ErrImagePull, err.Error()}
	}
	return p.pull(ctx, r, image, found)
}

// present looks whether the image is there and the pod may use it.
func (p *Puller) present(ctx context.Context, r Request, image string, logins func() ([]credential.Login, error), f *finding) (done bool, _ *Failure) {
	never := func() *Failure {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", r.Image)
		r.Tell(corev1.EventTypeWarning, ErrImageNeverPull, "%s", message)
		return &Failure{ErrImageNeverPull, message}
	}
	img, err := p.cfg.Images.ImageStatus(ctx, image)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		f.present = "false"
		if r.Policy == corev1.PullNever {
			return false, never()
		}
		return false, nil
	case err != nil:
		message := fmt.Sprintf("Failed to inspect image %q: %v", img.ID, err)
		r.Tell(corev1.EventTypeWarning, eventInspectFailed, "%s", message)
		return false, &Failure{ImageInspectError, message}
	}
	f.present = "true"
	must, err := p.mustPull(r.Image, img.ID, logins)
	if err == nil {
		f.pull = strconv.FormatBool(must)
	}
	switch {
	case err != nil:
		return false, &Failure{ErrImagePull, err.Error()}
	case !must:
		r.Tell(corev1.EventTypeNormal, "Pulled", presentMessage, r.Image)
		return true, nil
	case r.Policy == corev1.PullNever: // the same words as for an absent one: its presence is not the pod's business
		return false, never()
	}
	return false, nil
}

// secrets reads the pod's pull secrets.
func (p *Puller) secrets(ctx context.Context, r Request) []*corev1.Secret {
	var found []*corev1.Secret
	var missing []string
	for _, ref := range r.Pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		s, err := p.cfg.Secret(ctx, r.Pod.Namespace, ref.Name)
		if err != nil {
			missing = append(missing, ref.Name)
			continue
		}
		found = append(found, s)
	}
	if len(missing) > 0 && ctx.Err() == nil {
		r.TellPod(corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
	}
	return found
}

func (p *Puller) pull(ctx context.Context, r Request, image string, logins []credential.Login) *Failure {
	if err := p.history.begin(r.Image); err != nil {
		return &Failure{ErrImagePull, fmt.Sprintf("Failed to record image pull intent for container image %q: %v", r.Image, err)}
	}
	r.Tell(corev1.EventTypeNormal, "Pulling", "Pulling image %q", r.Image)
	asked := time.Now()
	img, used, took, err := p.inTurn(ctx, image, logins)
	if err != nil && p.standsIn(ctx, image, err) {
		p.history.failed(r.Image)
		r.Tell(corev1.EventTypeNormal, "Pulled", presentMessage, r.Image)
		return nil
	}
	if err != nil {
		p.history.failed(r.Image)
		if ctx.Err() == nil {
			r.Tell(corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", r.Image, err)
		}
		return explain(r.Image, err)
	}
	p.history.pulled(r.Image, img.ID, credentialsOf(used))
	p.history.prune(ctx, p.cfg.Images)
	r.Tell(corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
		r.Image, took.Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond), img.Size)
	return nil
}

const presentMessage = "Container image %q already present on machine and can be accessed by the pod"

// standsIn says whether an image that was imported by hand is to be used instead of what a registry would give that
// cannot be reached: a machine without a network runs what its operator has put there, policy Always included. A
// kubelet would fail. Runtimes of another make do not tell, and so it does with them.
func (p *Puller) standsIn(ctx context.Context, image string, err error) bool {
	return errors.Is(err, runtime.ErrUnreachable) && p.imported(ctx, image)
}

func (p *Puller) imported(ctx context.Context, image string) bool {
	img, err := p.cfg.Images.ImageStatus(ctx, image)
	return err == nil && img.Imported
}

// inTurn pulls when there is a place. took is without the wait for it.
func (p *Puller) inTurn(ctx context.Context, image string, logins []credential.Login) (_ runtime.Image, _ *credential.Login, took time.Duration, _ error) {
	if p.turns != nil {
		select {
		case p.turns <- struct{}{}:
			defer func() { <-p.turns }()
		case <-ctx.Done():
			return runtime.Image{}, nil, 0, ctx.Err()
		}
	}
	began := time.Now()
	img, used, err := p.withLogins(ctx, image, logins)
	return img, used, time.Since(began), err
}

// withLogins tries one login after the other, and none only if there is none, as a kubelet does.
func (p *Puller) withLogins(ctx context.Context, image string, logins []credential.Login) (runtime.Image, *credential.Login, error) {
	if len(logins) == 0 {
		img, err := p.fetch(ctx, image, nil)
		return img, nil, err
	}
	var errs []error
	for i := range logins {
		l := &logins[i]
		img, err := p.fetch(ctx, image, []runtime.PullAuth{{Username: l.Username, Password: l.Password}})
		if err == nil {
			return img, l, nil
		}
		errs = append(errs, err)
	}
	return runtime.Image{}, nil, utilerrors.NewAggregate(errs)
}

func (p *Puller) fetch(ctx context.Context, image string, auth []runtime.PullAuth) (runtime.Image, error) {
	// Where an image is to stand in for its registry, pods need not wait their turn to find that none answers.
	if p.pace != nil && !p.pace.TryAccept() && !p.imported(ctx, image) {
		return runtime.Image{}, errors.New("pull QPS exceeded")
	}
	return p.cfg.Images.PullImage(ctx, image, auth)
}

// explain finds the reason that a runtime has put in front of its error.
func explain(image string, err error) *Failure {
	for reason, what := range map[string]string{RegistryUnavailable: "registry is unavailable", SignatureValidationFailed: "signature validation failed"} {
		if details, ok := strings.CutPrefix(err.Error(), reason); ok {
			return &Failure{reason, fmt.Sprintf("image pull failed for %s because the %s%s", image, what, details)}
		}
	}
	return &Failure{ErrImagePull, err.Error()}
}

// WithTag gives an image without tag and digest the tag "latest", and returns the name of its repository.
func WithTag(image string) (full, repository string, err error) {
	ref, err := reference.Parse(image)
	if err != nil {
		return "", "", err
	}
	if ref.Digest == "" && !strings.HasSuffix(image, ":"+ref.Tag) {
		image += ":" + ref.Tag
	}
	return image, ref.Name(), nil
}

func credentialsOf(l *credential.Login) *v1beta1.ImagePullCredentials {
	switch {
	case l == nil, l.Secret == nil && l.ServiceAccount == nil:
		return &v1beta1.ImagePullCredentials{NodePodsAccessible: true}
	case l.Secret != nil:
		return &v1beta1.ImagePullCredentials{KubernetesSecrets: []v1beta1.ImagePullSecret{secretOf(l)}}
	}
	return &v1beta1.ImagePullCredentials{KubernetesServiceAccounts: []v1beta1.ImagePullServiceAccount{accountOf(l)}}
}

func secretOf(l *credential.Login) v1beta1.ImagePullSecret {
	return v1beta1.ImagePullSecret{UID: l.Secret.UID, Namespace: l.Secret.Namespace, Name: l.Secret.Name, CredentialHash: l.Hash}
}

func accountOf(l *credential.Login) v1beta1.ImagePullServiceAccount {
	return v1beta1.ImagePullServiceAccount{UID: l.ServiceAccount.UID, Namespace: l.ServiceAccount.Namespace, Name: l.ServiceAccount.Name}
}
