package embedded

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"clipper/node/runtime"
)

// resolveUser finds out as whom the container's process runs: the pod's choice, else the image's, looked up in the
// image's own passwd and group files. imageUser has the image format's form: name, uid, name:group, uid:gid.
func resolveUser(rootfs string, sec *runtime.Security, imageUser string) (specs.User, error) {
	wanted := imageUser
	switch {
	case sec.User != nil:
		wanted = strconv.FormatInt(*sec.User, 10)
	case sec.UserName != "":
		wanted = sec.UserName
	}
	name, _, _ := strings.Cut(wanted, ":")
	if sec.Group != nil {
		wanted = name + ":" + strconv.FormatInt(*sec.Group, 10)
	}
	passwd, group, err := accountFiles(rootfs)
	if err != nil {
		return specs.User{}, err
	}
	account, err := user.GetExecUserPath(wanted, &user.ExecUser{}, passwd, group)
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q: %w", wanted, err)
	}
	out := specs.User{UID: uint32(account.Uid), GID: uint32(account.Gid)}
	groups := []int64{int64(account.Gid)} // the primary one too: dropping it would be a way around deny entries
	if !sec.SupplementalStrict {
		// Asked for without a group: with one, the group file is not searched for memberships.
		member, err := user.GetExecUserPath(name, &user.ExecUser{}, passwd, group)
		if err != nil {
			return specs.User{}, fmt.Errorf("groups of user %q: %w", name, err)
		}
		for _, g := range member.Sgids {
			groups = append(groups, int64(g))
		}
	}
	for _, g := range append(groups, sec.SupplementalGroups...) {
		if !slices.Contains(out.AdditionalGids, uint32(g)) {
			out.AdditionalGids = append(out.AdditionalGids, uint32(g))
		}
	}
	return out, nil
}

// accountFiles returns where the image's files are, following its symbolic links without leaving it.
func accountFiles(rootfs string) (passwd, group string, err error) {
	if passwd, err = securejoin.SecureJoin(rootfs, "/etc/passwd"); err != nil {
		return "", "", err
	}
	group, err = securejoin.SecureJoin(rootfs, "/etc/group")
	return passwd, group, err
}
