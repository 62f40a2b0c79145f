# A WebSocket client in sh and nc, so that one connection, and thus one pod, has the whole session. Frames are masked, as
# the protocol demands, with the key 0, which changes nothing.
set -eu
cd /tmp
mkfifo to-node
nc "$PUBLIC_HOST" "$PUBLIC_PORT" <to-node >from-node &
client=$!
exec 3>to-node
trap 'kill "$client" 2>/dev/null || true' EXIT

# wait_for PATTERN: what of it the node has sent, at most 20 s from now.
wait_for() {
  tries=0
  while [ "$tries" -lt 100 ]; do
    if found=$(grep -aoE "$1" from-node | head -n 1) && [ -n "$found" ]; then return 0; fi
    tries=$((tries + 1))
    sleep 0.2
  done
  echo "FAILED: the node did not send $1; it sent:"
  tr -cd ' -~\n' <from-node
  exit 1
}

printf 'GET %s?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' \
  "$ENGINE_PATH" "$PUBLIC_HOST" >&3
printf 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n' >&3
wait_for '0\{"sid":"[^"]*"'
echo "connected to $PUBLIC_HOST:$PUBLIC_PORT"

connect=40
[ "$NAMESPACE" = / ] || connect="40$NAMESPACE,"
printf '\201' >&3
printf "\\$(printf %o $((128 + ${#connect})))" >&3
printf '\0\0\0\0%s' "$connect" >&3
wait_for "$connect"'\{"sid":"[^"]*"'
sid=${found##*:}
sid=${sid//\"/}
echo "in namespace $NAMESPACE as $sid"

token="broadgate-test-$$-$(date +%s)"
body="{\"namespace\":\"$NAMESPACE\",\"room\":\"$sid\",\"event\":\"helm-test\",\"data\":\"$token\"}"
wget -q -O - --header 'Content-Type: application/json' --post-data "$body" "$OPS_URL/api/v1/publish"
wait_for "\"helm-test\",\"$token\""
echo "OK: published through $OPS_URL and received through $PUBLIC_HOST:$PUBLIC_PORT"
