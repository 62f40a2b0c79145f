#!/bin/sh
# One headline a second into the room "news", with nothing but redis-cli.
number=0
while true; do
  number=$((number + 1))
  redis-cli -h "$REDIS_HOST" -p "${REDIS_PORT:-6379}" PUBLISH 'socket.io#/#news#' \
    "{\"event\":\"headline\",\"data\":{\"title\":\"headline $number\"}}" >/dev/null
  sleep 1
done
