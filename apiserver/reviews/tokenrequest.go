package reviews

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"clipper/api"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/pipeline"
)

const (
	shortestSeconds = 10 * 60
	longestSeconds  = 1 << 32
	// A token asked for with exactly this life, by kubelet for a pod's own use, really lasts a year, so
	// that clients that never read the file again keep working; warnafter says that they should. As upstream.
	podSeconds = 60*60 + 7
	extended   = 365 * 24 * time.Hour
)

// TokenLimits bound the life of new tokens.
type TokenLimits struct {
	Longest  time.Duration // what is asked for beyond this is shortened; 0: no limit
	Extended time.Duration // tokens for pods that are extended last no longer than this; 0: no limit
	NoExtend bool          // tokens for pods last as long as they are asked for, not a year
}

// tokenRequest issues a token of the service account that the request names.
func (r *reviewer) tokenRequest(ctx context.Context, req *pipeline.Request, body api.Object, o metav1.CreateOptions) (runtime.Object, error) {
	tr, ok := body.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("token: the body is a %T, not a TokenRequest", body))
	}
	if err := sameTarget(tr, req); err != nil {
		return nil, err
	}
	sa, err := api.ServiceAccounts.Get(ctx, r.Client, req.Namespace, req.Name)
	if err != nil {
		return nil, err
	}
	if tr.UID != "" && tr.UID != sa.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: authenticationv1.GroupName, Resource: "TokenRequest"}, req.Name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", tr.UID, sa.UID))
	}
	now := r.Now()
	r.complete(tr, sa, now)
	if faults := validateTokenRequest(&tr.Spec); len(faults) > 0 {
		return nil, apierrors.NewInvalid(tokenRequestKind, "", faults)
	}
	binding := satoken.Binding{ServiceAccount: sa, Audiences: tr.Spec.Audiences}
	if err := r.bind(ctx, &binding, tr.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	r.limit(req, &tr.Spec, &binding)
	token, _, id, err := r.Signer.Sign(ctx, binding, now)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	audit.AddAuditAnnotation(ctx, serviceaccount.IssuedCredentialIDAuditAnnotationKey, id)
	tr.Status = authenticationv1.TokenRequestStatus{Token: token,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*tr.Spec.ExpirationSeconds) * time.Second)).Rfc3339Copy()}
	return tr, nil
}

var tokenRequestKind = schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}

// sameTarget checks that a body that names an account names the one of the path.
func sameTarget(tr *authenticationv1.TokenRequest, req *pipeline.Request) error {
	path := field.NewPath("metadata")
	if tr.Name != "" && tr.Name != req.Name {
		return apierrors.NewInvalid(tokenRequestKind, req.Name, field.ErrorList{
			field.Invalid(path.Child("name"), tr.Name, "must match the service account name if specified")})
	}
	if tr.Namespace != "" && tr.Namespace != req.Namespace {
		return apierrors.NewInvalid(tokenRequestKind, req.Name, field.ErrorList{
			field.Invalid(path.Child("namespace"), tr.Namespace, "must match the service account namespace if specified")})
	}
	return nil
}

// complete fills in what the request leaves open.
func (r *reviewer) complete(tr *authenticationv1.TokenRequest, sa *corev1.ServiceAccount, now time.Time) {
	if len(tr.Spec.Audiences) == 0 {
		tr.Spec.Audiences = r.Signer.Audiences()
	}
	tr.Name, tr.Namespace, tr.UID = sa.Name, sa.Namespace, sa.UID
	tr.CreationTimestamp = metav1.NewTime(now).Rfc3339Copy()
	tr.Status = authenticationv1.TokenRequestStatus{}
}

// limit decides how long the token lasts.
func (r *reviewer) limit(req *pipeline.Request, spec *authenticationv1.TokenRequestSpec, b *satoken.Binding) {
	if longest := int64(r.Limits.Longest.Seconds()); longest > 0 && *spec.ExpirationSeconds > longest {
		if req.Warn != nil {
			req.Warn(fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *spec.ExpirationSeconds, longest))
		}
		spec.ExpirationSeconds = &longest
	}
	b.Life = time.Duration(*spec.ExpirationSeconds) * time.Second
	if !r.Limits.NoExtend && b.Pod != nil && *spec.ExpirationSeconds == podSeconds && r.Signer.Within(spec.Audiences) {
		b.WarnAfter, b.Life = b.Life, extended
		if r.Limits.Extended > 0 {
			b.Life = min(extended, r.Limits.Extended)
		}
	}
}

func validateTokenRequest(spec *authenticationv1.TokenRequestSpec) (faults field.ErrorList) {
	path, seconds := field.NewPath("spec", "expirationSeconds"), *spec.ExpirationSeconds
	if seconds < shortestSeconds {
		faults = append(faults, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > longestSeconds {
		faults = append(faults, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return faults
}

// bind ties a token to the object of ref, which must be there with the UID of ref.
func (r *reviewer) bind(ctx context.Context, b *satoken.Binding, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		pod, err := api.Pods.Get(ctx, r.Client, b.ServiceAccount.Namespace, ref.Name)
		if err != nil {
			return err
		}
		if pod.Spec.ServiceAccountName != b.ServiceAccount.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", b.ServiceAccount.Name))
		}
		b.Pod = &satoken.Ref{Name: pod.Name, UID: pod.UID}
		if err := sameUID(ref, pod); err != nil {
			return err
		}
		b.Node = r.nodeRef(pod.Spec.NodeName)
		return nil
	case schema.GroupKind{Kind: "Secret"}:
		secret, err := api.Secrets.Get(ctx, r.Client, b.ServiceAccount.Namespace, ref.Name)
		if err != nil {
			return err
		}
		b.Secret = &satoken.Ref{Name: secret.Name, UID: secret.UID}
		return sameUID(ref, secret)
	case schema.GroupKind{Kind: "Node"}:
		node, err := api.Nodes.Get(ctx, r.Client, "", ref.Name)
		if err != nil {
			return err
		}
		b.Node = &satoken.Ref{Name: node.Name, UID: node.UID}
		return sameUID(ref, node)
	}
	return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
}

// nodeRef names where a pod runs; nil for nowhere. A node that has not registered has no UID yet.
func (r *reviewer) nodeRef(name string) *satoken.Ref {
	if name == "" {
		return nil
	}
	ref := &satoken.Ref{Name: name}
	if node, ok := api.Nodes.View(r.Client).Get("", name); ok {
		ref.UID = node.UID
	}
	return ref
}

// sameUID names the kind where other conflicts name the resource, as upstream does.
func sameUID(ref *authenticationv1.BoundObjectReference, o metav1.Object) error {
	if ref.UID == "" || ref.UID == o.GetUID() {
		return nil
	}
	return apierrors.NewConflict(schema.GroupResource{Resource: ref.Kind}, ref.Name, fmt.Errorf(
		"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
}
