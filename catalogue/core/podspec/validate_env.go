package podspec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validating) env(list []corev1.EnvVar, at *field.Path) {
	for i := range list {
		path := at.Index(i)
		if v.Need(path.Child("name"), list[i].Name) {
			v.Each(path.Child("name"), list[i].Name, utilvalidation.IsRelaxedEnvVarName(list[i].Name))
		}
		if list[i].ValueFrom != nil {
			v.valueFrom(&list[i], path.Child("valueFrom"))
		}
	}
}

func (v *validating) valueFrom(e *corev1.EnvVar, at *field.Path) {
	sources, from := 0, e.ValueFrom
	if from.FieldRef != nil {
		sources++
		v.fieldRef(from.FieldRef, envFields, at.Child("fieldRef"))
	}
	if from.ResourceFieldRef != nil {
		sources++
		v.resourceRef(from.ResourceFieldRef, false, at.Child("resourceFieldRef"))
	}
	if from.ConfigMapKeyRef != nil {
		sources++
		v.keyRef(from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, at.Child("configMapKeyRef"))
	}
	if from.SecretKeyRef != nil {
		sources++
		v.keyRef(from.SecretKeyRef.Name, from.SecretKeyRef.Key, at.Child("secretKeyRef"))
	}
	if from.FileKeyRef != nil {
		sources++
		v.fileKeyRef(from.FileKeyRef, at.Child("fileKeyRef"))
	}
	switch {
	case sources == 0:
		v.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case e.Value != "":
		v.Invalid(at, "", "may not be specified when `value` is not empty")
	case sources > 1:
		v.Invalid(at, "", "may not have more than one field specified at a time")
	}
}

func (v *validating) keyRef(name, key string, at *field.Path) {
	v.DNSSubdomain(at.Child("name"), name)
	if v.Need(at.Child("key"), key) {
		v.Each(at.Child("key"), key, utilvalidation.IsConfigMapKey(key))
	}
}

func (v *validating) fileKeyRef(r *corev1.FileKeySelector, at *field.Path) {
	if v.Need(at.Child("key"), r.Key) {
		v.Each(at.Child("key"), r.Key, utilvalidation.IsRelaxedEnvVarName(r.Key))
	}
	if v.Need(at.Child("volumeName"), r.VolumeName) {
		v.DNSLabel(at.Child("volumeName"), r.VolumeName)
	}
	if v.Need(at.Child("path"), r.Path) {
		v.noBacksteps(r.Path, at.Child("path"))
	}
}

// fileKeyVolumes: such files are read before the container starts, so they must live in the pod itself.
func (v *validating) fileKeyVolumes(at *field.Path) {
	EachContainerAt(v.spec, at, func(c *corev1.Container, path *field.Path) {
		for i := range c.Env {
			from := c.Env[i].ValueFrom
			if from == nil || from.FileKeyRef == nil {
				continue
			}
			name := from.FileKeyRef.VolumeName
			volumeName := path.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			j := slices.IndexFunc(v.spec.Volumes, func(vol corev1.Volume) bool { return vol.Name == name })
			switch {
			case j < 0:
				v.NotFound(volumeName, name)
			case v.spec.Volumes[j].EmptyDir == nil:
				v.Invalid(volumeName, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}

func (v *validating) envFrom(list []corev1.EnvFromSource, at *field.Path) {
	for i, e := range list {
		path := at.Index(i)
		if e.Prefix != "" {
			v.Each(path.Child("prefix"), e.Prefix, utilvalidation.IsRelaxedEnvVarName(e.Prefix))
		}
		sources := 0
		named := func(name string, at *field.Path) {
			sources++
			if v.Need(at, name) {
				v.Each(at, name, validation.NameIsDNSSubdomain(name, true))
			}
		}
		if e.ConfigMapRef != nil {
			named(e.ConfigMapRef.Name, path.Child("configMapRef", "name"))
		}
		if e.SecretRef != nil {
			named(e.SecretRef.Name, path.Child("secretRef", "name"))
		}
		switch {
		case sources == 0:
			v.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")
		case sources > 1:
			v.Invalid(at, "", "may not have more than one field specified at a time")
		}
	}
}

// Fields of the pod that an environment variable and a file may show, in the order of messages.
var (
	envFields = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	fileFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// knownFields are all that have a label in the API.
	knownFields = append([]string{
		"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase",
	}, envFields...)
	resourceFields = []string{
		"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory",
	}
)

func (v *validating) fieldRef(r *corev1.ObjectFieldSelector, allowed []string, at *field.Path) {
	if !v.Need(at.Child("apiVersion"), r.APIVersion) || !v.Need(at.Child("fieldPath"), r.FieldPath) {
		return
	}
	if r.APIVersion != "v1" {
		v.Invalid(at.Child("fieldPath"), r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)
		return
	}
	path, key, subscripted := strings.Cut(strings.TrimSuffix(r.FieldPath, "']"), "['")
	subscripted = subscripted && strings.HasSuffix(r.FieldPath, "']")
	switch {
	case subscripted && path == "metadata.annotations":
		v.QualifiedName(at, strings.ToLower(key))
	case subscripted && path == "metadata.labels":
		v.QualifiedName(at, key)
	case subscripted:
		v.Invalid(at.Child("fieldPath"), r.FieldPath, "error converting fieldPath: field label does not support subscript: "+r.FieldPath)
	case r.FieldPath == "spec.host": // of the oldest clients
		if !slices.Contains(allowed, "spec.nodeName") {
			v.Add(field.NotSupported(at.Child("fieldPath"), "spec.nodeName", allowed))
		}
	case !slices.Contains(knownFields, r.FieldPath):
		v.Invalid(at.Child("fieldPath"), r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)
	case !slices.Contains(allowed, r.FieldPath):
		v.Add(field.NotSupported(at.Child("fieldPath"), r.FieldPath, allowed))
	}
}

func (v *validating) resourceRef(r *corev1.ResourceFieldSelector, volume bool, at *field.Path) {
	kind := strings.TrimPrefix(strings.TrimPrefix(r.Resource, "limits."), "requests.")
	huge := kind != r.Resource && strings.HasPrefix(kind, corev1.ResourceHugePagesPrefix)
	switch {
	case volume && r.ContainerName == "":
		v.Required(at.Child("containerName"), "")
	case r.Resource == "":
		v.Required(at.Child("resource"), "")
	case !huge && !slices.Contains(resourceFields, r.Resource):
		v.Add(field.NotSupported(at.Child("resource"), r.Resource, resourceFields))
	}
	v.divisor(r.Resource, kind, huge, r.Divisor, at.Child("divisor"))
}

var byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}

func (v *validating) divisor(name, kind string, huge bool, d resource.Quantity, at *field.Path) {
	if d.IsZero() {
		return
	}
	const bytes = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the "
	fine := slices.Contains(byteDivisors, d.String())
	switch {
	case kind == "cpu" && d.String() != "1m" && d.String() != "1":
		v.Invalid(at, name, "only divisor's values 1m and 1 are supported with the cpu resource")
	case kind == "memory" && !fine:
		v.Invalid(at, name, bytes+"memory resource")
	case kind == "ephemeral-storage" && !fine:
		v.Invalid(at, name, bytes+"local ephemeral storage resource")
	case huge && !fine:
		v.Invalid(at, name, bytes+"hugepages resource")
	}
}
