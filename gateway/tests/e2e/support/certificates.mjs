// Certificates by an authority of the test's own, made by openssl.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { atEnd } from "./conditions.mjs";
import { run } from "./processes.mjs";

const CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A certificate for the loopback address: `ca` (in `caFile`) for clients, `env` for the node, `renew()` writes another one. */
export async function issueCertificate(t) {
  const directory = await mkdtemp(join(tmpdir(), "broadgate-certificates-"));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  const at = (name) => join(directory, name);
  const openssl = (...args) => run("openssl", args, { cwd: directory });
  await openssl("req", "-x509", ...CURVE, "-keyout", at("ca.key"), "-out", at("ca.crt"), "-days", "2", "-subj", "/CN=tests");
  await writeFile(at("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  const renew = async () => {
    await openssl("req", "-new", ...CURVE, "-keyout", at("new.key"), "-out", at("new.csr"), "-subj", "/CN=node");
    const by = ["-CA", at("ca.crt"), "-CAkey", at("ca.key"), "-CAcreateserial", "-extfile", at("names"), "-days", "1"];
    await openssl("x509", "-req", "-in", at("new.csr"), ...by, "-out", at("new.crt"));
    await writeFile(at("tls.key"), await readFile(at("new.key")));
    await writeFile(at("tls.crt"), await readFile(at("new.crt")));
  };
  await renew();
  const env = { BROADGATE__SERVER__TLS_CERT_FILE: at("tls.crt"), BROADGATE__SERVER__TLS_KEY_FILE: at("tls.key") };
  return { ca: await readFile(at("ca.crt"), "utf8"), caFile: at("ca.crt"), env, renew };
}
