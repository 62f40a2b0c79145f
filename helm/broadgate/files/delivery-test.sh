# A client in sh, by each transport that is on. By WebSocket it is nc, with frames that are masked, as the protocol demands,
# with the key 0, which changes nothing. By polling each request is a connection of its own, so the Service may give it to
# any pod.
set -eu
cd /tmp

# fail WHAT FILE: what was not received, and what was.
fail() {
  echo "FAILED: the node did not send $1; it sent:"
  tr -cd ' -~\n' <"$2"
  exit 1
}

# find PATTERN FILE: leaves what is found in $found.
find() { found=$(grep -aoE "$1" "$2" | head -n 1) && [ -n "$found" ]; }

# wait_for PATTERN: on the WebSocket, at most 20 s from now.
wait_for() {
  tries=0
  until find "$1" from-node; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || fail "$1" from-node
    sleep 0.2
  done
}

# poll_for PATTERN: in what the next polls bring; each is held for as long as there is nothing.
poll_for() {
  tries=0
  : >polled
  until find "$1" polled; do
    tries=$((tries + 1))
    [ "$tries" -le 10 ] || fail "$1" polled
    wget -q -O - "$url" >>polled || fail "$1" polled
  done
}

# connected: takes the id of the socket from what was found, which is its room as well.
connected() {
  sid=${found##*:}
  sid=${sid//\"/}
  echo "in namespace $NAMESPACE as $sid"
}

# publish TOKEN: to this one client, on any node; with the first of the keys where there are any.
publish() {
  body="{\"namespace\":\"$NAMESPACE\",\"room\":\"$sid\",\"event\":\"helm-test\",\"data\":\"$1\"}"
  set -- -q -O - --header 'Content-Type: application/json' --post-data "$body"
  [ -z "${OPS_KEY_FILE:-}" ] || set -- "$@" --header "Authorization: Bearer $(head -n 1 "$OPS_KEY_FILE")"
  wget "$@" "$OPS_URL/api/v1/publish"
}

# publish_is_refused: nobody may publish without a key, and the test has none.
publish_is_refused() {
  [ -n "${OPS_CLOSED:-}" ] || return 1
  if publish closed 2>refusal; then
    echo "FAILED: the ops API is open, but ops.anonymous does not say so"
    exit 1
  fi
  grep -q 401 refusal || fail 401 refusal
}

over_websocket() {
  mkfifo to-node
  nc "$PUBLIC_HOST" "$PUBLIC_PORT" <to-node >from-node &
  client=$!
  exec 3>to-node
  trap 'kill "$client" 2>/dev/null || true' EXIT
  printf 'GET %s?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' \
    "$ENGINE_PATH" "$PUBLIC_HOST" >&3
  printf 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n' >&3
  wait_for '0\{"sid":"[^"]*"'
  printf '\201' >&3
  printf "\\$(printf %o $((128 + ${#connect})))" >&3
  printf '\0\0\0\0%s' "$connect" >&3
  wait_for "$connect"'\{"sid":"[^"]*"'
  connected
  publish_is_refused && return
  publish "$token-websocket"
  wait_for "\"helm-test\",\"$token-websocket\""
}

over_polling() {
  url="http://$PUBLIC_HOST:$PUBLIC_PORT$ENGINE_PATH?EIO=4&transport=polling"
  poll_for '0\{"sid":"[^"]*"'
  session=${found##*:}
  url="$url&sid=${session//\"/}"
  wget -q -O - --header 'Content-Type: text/plain' --post-data "$connect" "$url"
  poll_for "$connect"'\{"sid":"[^"]*"'
  connected
  publish_is_refused && return
  publish "$token-polling"
  poll_for "\"helm-test\",\"$token-polling\""
}

connect=40
[ "$NAMESPACE" = / ] || connect="40$NAMESPACE,"
token="broadgate-test-$$-$(date +%s)"
for transport in $TRANSPORTS; do
  echo "by $transport to $PUBLIC_HOST:$PUBLIC_PORT"
  "over_$transport"
  if [ -n "${OPS_CLOSED:-}" ]; then
    echo "OK: connected by $transport, and $OPS_URL refuses to publish without a key"
  else
    echo "OK: published through $OPS_URL and received by $transport"
  fi
done
