#!/bin/sh
# From a directory to a deployment in five steps. Each takes nothing on trust that
# the one before was to do, and ends with modelreg's exit code when it refuses:
# 8 not signed, 9 not what is locked, 10 against the policy, 15 wrong bytes,
# 16 unsafe (modelreg help exit-codes).
#
#   pipeline.sh publish VERSION      push the model, signed, with its provenance
#   pipeline.sh check VERSION        scan it, and attest what scan and tests said
#   pipeline.sh promote VERSION TAG  move TAG to it, if the policy allows it
#   pipeline.sh lock TAG             lock what TAG leads to, for review
#   pipeline.sh deploy DIR           bring what is locked, and nothing else
set -eu
# shellcheck disable=SC2086 # SIGN and TRUST are several words

: "${REPOSITORY:?set REPOSITORY to HOST/ORG/MODEL}"
: "${NAME:=model}"            # what the lock file calls it
: "${MODEL:=model}"           # the directory to publish
: "${RESULTS:=results.json}"  # of the tests: an in-toto test-result predicate
: "${SIGN:=--key cosign.key}"  # what to sign with: flags of modelreg sign
: "${TRUST:=--key cosign.pub}" # whose signatures count: flags of modelreg verify
: "${POLICY:=policy.yaml}"    # what may be promoted and deployed

case "${1:-}" in
publish)
  modelreg push "$MODEL" "$REPOSITORY:$2" --sign $SIGN --provenance
  ;;
check)
  # The digest is resolved once; all that follows is about that version.
  reference=$REPOSITORY@$(modelreg resolve "$REPOSITORY:$2")
  modelreg scan "$reference" --attach $SIGN
  modelreg attest "$reference" --type test-result --predicate "$RESULTS" $SIGN
  ;;
promote)
  verified=$(modelreg verify "$REPOSITORY:$2" $TRUST --policy "$POLICY")
  # The first line is the reference with the digest that was verified.
  modelreg tag "${verified%%
*}" "$3"
  ;;
lock)
  if grep -q "^  $NAME:\$" modelreg.lock 2>/dev/null; then
    modelreg lock update "$NAME" $TRUST --policy "$POLICY"
  else
    modelreg lock add "$NAME" "$REPOSITORY:$2" $TRUST --policy "$POLICY"
  fi
  ;;
deploy)
  modelreg lock check "$NAME"
  modelreg pull --locked "$NAME" "$2" --verify $TRUST --policy "$POLICY"
  ;;
*)
  sed -n '1d;s/^# \{0,1\}//p;/^set/q' "$0" >&2
  exit 2
  ;;
esac
