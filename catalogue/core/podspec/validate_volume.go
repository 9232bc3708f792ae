package podspec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// checkVolumes also collects the volumes that are valid, for the mounts to refer to.
func (v *validating) checkVolumes(at *field.Path) {
	names, made := rule.Seen[string]{}, map[string]bool{}
	for i := range v.spec.Volumes {
		if vol := &v.spec.Volumes[i]; vol.Ephemeral != nil && v.meta != nil && v.meta.Name != "" {
			made[v.meta.Name+"-"+vol.Name] = true
		}
	}
	v.volumes = make(map[string]*corev1.VolumeSource, len(v.spec.Volumes))
	for i := range v.spec.Volumes {
		vol, path := &v.spec.Volumes[i], at.Index(i)
		before := len(v.List)
		v.source(vol, path)
		if v.Need(path.Child("name"), vol.Name) {
			v.DNSLabel(path.Child("name"), vol.Name)
		}
		if names[vol.Name] {
			v.Duplicate(path.Child("name"), vol.Name)
		}
		if len(v.List) == before {
			names[vol.Name] = true
			v.volumes[vol.Name] = &vol.VolumeSource
		}
		if c := vol.PersistentVolumeClaim; c != nil && made[c.ClaimName] {
			v.Invalid(path.Child("persistentVolumeClaim", "claimName"), c.ClaimName, "must not reference a PVC that gets created for an ephemeral volume")
		}
	}
}

// source checks that a volume is of exactly one kind, and a good one of its kind.
func (v *validating) source(vol *corev1.Volume, at *field.Path) {
	s := &vol.VolumeSource
	has := KindsOf(s, kinds)
	if len(has) == 0 {
		v.Required(at, "must specify a volume type")
		return
	}
	v.localSource(s, has[0], vol.Name, at)
	v.diskSource(s, has[0], vol.Name, at)
	v.networkSource(s, has[0], at)
	for _, kind := range has[1:] {
		v.Forbidden(at.Child(spelled(kind)), "may not specify more than 1 volume type")
	}
}

// spelled is how upstream writes the name of a kind that is one too many, slips included.
func spelled(kind string) string {
	switch kind {
	case "downwardAPI":
		return "downwarAPI"
	case "cephfs":
		return "cephFS"
	}
	return kind
}

// localSource checks the kinds that a node agent serves by itself.
func (v *validating) localSource(s *corev1.VolumeSource, kind, name string, at *field.Path) {
	switch kind {
	case "emptyDir":
		if s.EmptyDir.SizeLimit != nil && s.EmptyDir.SizeLimit.Sign() < 0 {
			v.Forbidden(at.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	case "hostPath":
		HostPath(v.Faults, s.HostPath, at.Child("hostPath"))
	case "gitRepo":
		v.Need(at.Child("gitRepo", "repository"), s.GitRepo.Repository)
		v.localPath(s.GitRepo.Directory, at.Child("gitRepo", "directory"))
	case "secret":
		v.keyFiles(s.Secret.SecretName, "secretName", s.Secret.DefaultMode, s.Secret.Items, at.Child("secret"))
	case "persistentVolumeClaim":
		v.Need(at.Child("persistentVolumeClaim", "claimName"), s.PersistentVolumeClaim.ClaimName)
	case "downwardAPI":
		p := at.Child("downwardAPI")
		v.Mode(p.Child("defaultMode"), s.DownwardAPI.DefaultMode)
		for i := range s.DownwardAPI.Items {
			v.downwardFile(&s.DownwardAPI.Items[i], p)
		}
	case "configMap":
		v.keyFiles(s.ConfigMap.Name, "name", s.ConfigMap.DefaultMode, s.ConfigMap.Items, at.Child("configMap"))
	case "projected":
		v.projected(s.Projected, at.Child("projected"))
	case "csi":
		v.csi(s.CSI, at.Child("csi"))
	case "ephemeral":
		v.ephemeral(s.Ephemeral, name, at)
	case "image":
		if v.Pod {
			v.Need(at.Child("image", "reference"), s.Image.Reference)
		}
		v.pullPolicy(s.Image.PullPolicy, at.Child("image", "pullPolicy"))
	}
}

// kinds are the kinds of a pod's volumes in the order in which the first one counts.
var kinds = strings.Fields(`emptyDir hostPath gitRepo gcePersistentDisk awsElasticBlockStore secret nfs iscsi glusterfs
	flocker persistentVolumeClaim rbd cinder cephfs quobyte downwardAPI fc flexVolume configMap azureFile vsphereVolume
	photonPersistentDisk portworxVolume azureDisk storageos projected scaleIO csi ephemeral image`)

// KindsOf says which of the kinds a volume source has, by the names of the fields and in the order of the list.
func KindsOf[T any](source *T, kinds []string) []string {
	var has []string
	v := reflect.ValueOf(source).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() && slices.Contains(kinds, name) {
			has = append(has, name)
		}
	}
	slices.SortFunc(has, func(a, b string) int { return slices.Index(kinds, a) - slices.Index(kinds, b) })
	return has
}

// HostPath checks a hostPath source of a pod or a PersistentVolume.
func HostPath(f *rule.Faults, s *corev1.HostPathVolumeSource, at *field.Path) {
	if !f.Need(at.Child("path"), s.Path) {
		return
	}
	NoBacksteps(f, s.Path, at.Child("path"))
	if s.Type != nil {
		rule.OneOf(f, at.Child("type"), *s.Type, corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
			corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)
	}
}

func (v *validating) keyFiles(name, field string, mode *int32, items []corev1.KeyToPath, at *field.Path) {
	v.Need(at.Child(field), name)
	v.Mode(at.Child("defaultMode"), mode)
	for i := range items {
		v.keyFile(&items[i], at.Child("items").Index(i))
	}
}

func (v *validating) keyFile(k *corev1.KeyToPath, at *field.Path) {
	v.Need(at.Child("key"), k.Key)
	v.Need(at.Child("path"), k.Path)
	v.filePath(k.Path, at.Child("path"))
	v.Mode(at.Child("mode"), k.Mode)
}

func (v *validating) downwardFile(d *corev1.DownwardAPIVolumeFile, at *field.Path) {
	v.Need(at.Child("path"), d.Path)
	v.filePath(d.Path, at.Child("path"))
	switch {
	case d.FieldRef != nil:
		v.fieldRef(d.FieldRef, fileFields, at.Child("fieldRef"))
		if d.ResourceFieldRef != nil {
			v.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case d.ResourceFieldRef != nil:
		v.resourceRef(d.ResourceFieldRef, true, at.Child("resourceFieldRef"))
	default:
		v.Required(at, "one of fieldRef and resourceFieldRef is required")
	}
	v.Mode(at.Child("mode"), d.Mode)
}

func (v *validating) projected(p *corev1.ProjectedVolumeSource, at *field.Path) {
	v.Mode(at.Child("defaultMode"), p.DefaultMode)
	paths := rule.Seen[string]{}
	place := func(path, owner string) {
		if path != "" && paths.Again(path) {
			v.Invalid(at, owner, "conflicting duplicate paths")
		}
	}
	items := func(name string, list []corev1.KeyToPath, at *field.Path) {
		v.Need(at.Child("name"), name)
		for i := range list {
			v.keyFile(&list[i], at.Child("items").Index(i))
			place(list[i].Path, name)
		}
	}
	for i := range p.Sources {
		s, path := &p.Sources[i], at.Child("sources").Index(i)
		kinds := 0
		if s.Secret != nil {
			kinds++
			items(s.Secret.Name, s.Secret.Items, path.Child("secret"))
		}
		if s.ConfigMap != nil {
			kinds++
			items(s.ConfigMap.Name, s.ConfigMap.Items, path.Child("configMap"))
		}
		if s.DownwardAPI != nil {
			kinds++
			for j := range s.DownwardAPI.Items {
				v.downwardFile(&s.DownwardAPI.Items[j], path.Child("downwardAPI"))
				place(s.DownwardAPI.Items[j].Path, s.DownwardAPI.Items[j].Path)
			}
		}
		if s.ServiceAccountToken != nil {
			kinds++
			v.tokenFile(s.ServiceAccountToken, path.Child("serviceAccountToken"), at)
		}
		if kinds > 1 {
			v.Forbidden(path, "may not specify more than 1 volume type per source")
		}
	}
}

func (v *validating) tokenFile(t *corev1.ServiceAccountTokenProjection, at, volume *field.Path) {
	if s := t.ExpirationSeconds; s != nil {
		if *s < 10*60 {
			v.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes")
		}
		if *s > 1<<32 {
			v.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration larger than 2^32 seconds")
		}
	}
	if v.Need(volume.Child("path"), t.Path) {
		v.filePath(t.Path, volume.Child("path"))
	}
}

// anonymousTokens refuses tokens for no account. Templates may have them: their pods get an account.
func (v *validating) anonymousTokens(at *field.Path) {
	if !v.Pod || v.spec.ServiceAccountName != "" {
		return
	}
	for i, vol := range v.spec.Volumes {
		if vol.Projected == nil {
			continue
		}
		for j, s := range vol.Projected.Sources {
			if s.ServiceAccountToken != nil {
				v.Forbidden(at.Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"), "must not be specified when serviceAccountName is not set")
			}
		}
	}
}

func (v *validating) csi(s *corev1.CSIVolumeSource, at *field.Path) {
	CSIDriverName(v.Faults, s.Driver, at.Child("driver"))
	if ref := s.NodePublishSecretRef; ref != nil {
		if v.Need(at.Child("nodePublishSecretRef", "name"), ref.Name) {
			v.DNSSubdomain(at.Child("name"), ref.Name)
		}
	}
}

func (v *validating) ephemeral(e *corev1.EphemeralVolumeSource, name string, at *field.Path) {
	t := e.VolumeClaimTemplate
	if t == nil {
		v.Required(at.Child("ephemeral", "volumeClaimTemplate"), "")
		return
	}
	path := at.Child("ephemeral", "volumeClaimTemplate")
	TemplateMeta(v.Faults, &t.ObjectMeta, path.Child("metadata"))
	v.Add(ValidateClaim(&t.Spec, path.Child("spec"), ClaimOptions{})...)
	if v.meta != nil && v.meta.Name != "" && name != "" {
		claim := v.meta.Name + "-" + name
		for _, message := range validation.NameIsDNSSubdomain(claim, false) {
			v.Invalid(at.Child("name"), name, fmt.Sprintf("PVC name %q: %v", claim, message))
		}
	}
}
