// Runs npm `express-openid-connect` as an app that is told by back-channel logout.
//
// Reads one JSON configuration from standard input:
//   {provider: "idp" | "control", issuer, user, app_port, client: {client_id, client_secret}, ends}
// starts the app, signs in to it through the provider, ends the session at the provider in each way
// of `ends` ("account_page", "end_session"), and prints one JSON line per feature: {feature, ok,
// detail}. The app sees the end only by the logout token: nothing is done at the app in between.

import assert from 'node:assert/strict';

import express from 'express';
import { auth } from 'express-openid-connect';

import { Browser } from './browser.mjs';
import { drivers, endAtAccountPage, passPages, signOut } from './drivers.mjs';

const options = JSON.parse(await new Response(process.stdin).text());
const driver = drivers[options.provider];
const base = `http://localhost:${options.app_port}`;

/** The store `express-openid-connect` asks for: where it notes which sessions were ended. */
class EndedSessions {
  entries = new Map();

  async get(id) {
    return this.entries.get(id);
  }

  async set(id, value) {
    this.entries.set(id, value);
  }

  async destroy(id) {
    this.entries.delete(id);
  }
}

const ended = new EndedSessions();
const app = express();
app.use(
  auth({
    issuerBaseURL: options.issuer, // plain http is accepted for loopback issuers since 3.x
    baseURL: base,
    clientID: options.client.client_id,
    clientSecret: options.client.client_secret,
    clientAuthMethod: 'client_secret_basic',
    secret: 'cookie-secret-of-the-app-0123456789',
    idTokenSigningAlg: 'ES256', // checked on ID tokens and logout tokens alike; its default is RS256
    authRequired: false,
    authorizationParams: { response_type: 'code', scope: 'openid profile' },
    backchannelLogout: { store: ended },
  }),
);
app.get('/', (request, response) => {
  response.json({ user: request.oidc.user ?? null, sid: request.oidc.idTokenClaims?.sid });
});
const server = app.listen(options.app_port, '127.0.0.1');

async function seenBy(browser) {
  return JSON.parse((await browser.open(`${base}/`)).body);
}

/** Waits until the app no longer knows the person; gives milliseconds. */
async function untilSignedOut(browser) {
  const start = performance.now();
  while ((await seenBy(browser)).user) {
    if (performance.now() - start > 10_000) throw new Error('the app was not told within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return Math.round(performance.now() - start);
}

async function signIn() {
  const browser = new Browser();
  assert.equal((await seenBy(browser)).user, null);
  const page = await passPages(browser, driver, options.user, `${base}/login`);
  assert.equal(page.url.href, `${base}/`);
  const { user, sid } = JSON.parse(page.body);
  assert.ok(user.sub);
  assert.ok(sid, 'the ID token has no sid');
  return { browser, sub: user.sub, sid };
}

const ways = {
  account_page: (browser, sid) => endAtAccountPage(browser, options.issuer, sid),
  async end_session(browser) {
    const metadata = await fetch(`${options.issuer}/.well-known/openid-configuration`);
    await signOut(browser, driver, (await metadata.json()).end_session_endpoint);
  },
};

const features = {
  async sign_in() {
    const { browser, sub } = await signIn();
    assert.equal((await seenBy(browser)).user.sub, sub);
  },
};
for (const way of options.ends) {
  features[`backchannel_logout_from_${way}`] = async () => {
    const { browser, sid } = await signIn();
    ended.entries.clear();
    await ways[way](browser, sid);
    const milliseconds = await untilSignedOut(browser);
    assert.ok(ended.entries.has(`${options.issuer}|${sid}`), 'no logout token for this sid');
    return { milliseconds };
  };
}

for (const [feature, run] of Object.entries(features)) {
  let line;
  try {
    line = { feature, ok: true, detail: (await run()) ?? null };
  } catch (error) {
    line = { feature, ok: false, detail: String(error.stack ?? error) };
  }
  console.log(JSON.stringify(line));
}
server.close();
server.closeAllConnections();
