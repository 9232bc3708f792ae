package admissionregistration

import (
	"fmt"
	"net/url"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// clientConfig checks where a webhook is called: at a URL or at a service, not both.
func clientConfig(f *rule.Faults, c *admissionv1.WebhookClientConfig, at *field.Path) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		f.Required(at, "exactly one of url or service is required")
	case c.URL != nil:
		hookURL(f, *c.URL, at.Child("url"))
	default:
		hookService(f, c.Service, at.Child("service"))
	}
}

func hookURL(f *rule.Faults, text string, at *field.Path) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		f.Required(at, "url must be a valid URL: "+err.Error()+form)
		return
	}
	if u.Scheme != "https" {
		f.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form)
	}
	if u.Host == "" {
		f.Invalid(at, u.Host, "host must be specified"+form)
	}
	if u.User != nil {
		f.Invalid(at, u.User.Username(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		f.Invalid(at, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		f.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

func hookService(f *rule.Faults, s *admissionv1.ServiceReference, at *field.Path) {
	f.Need(at.Child("name"), s.Namespace) // upstream mixes the two up, and clients see its paths
	f.Need(at.Child("namespace"), s.Name)
	if s.Port != nil {
		if messages := utilvalidation.IsValidPortNum(int(*s.Port)); len(messages) > 0 {
			f.Invalid(at.Child("port"), *s.Port, "port is not valid: "+strings.Join(messages, ", "))
		}
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return
	}
	at = at.Child("path")
	path := *s.Path
	if path == "//" {
		f.Invalid(at, path, "segment[0] may not be empty")
		return
	}
	if !strings.HasPrefix(path, "/") {
		f.Invalid(at, path, "must start with a '/'")
	}
	for i, step := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if step == "" {
			f.Invalid(at, path, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, message := range utilvalidation.IsDNS1123Subdomain(step) {
			f.Invalid(at, path, fmt.Sprintf("segment[%d]: %v", i, message))
		}
	}
}
