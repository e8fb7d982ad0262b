// Runs npm `openid-client` (certified) through everything it can do with a provider.
//
// Reads one JSON configuration from standard input:
//   {provider: "idp" | "control", issuer, user: {username, password}, redirect_uri,
//    post_logout_redirect_uri, clients: {name: {client_id, client_secret?, jwk?}}, api,
//    initial_access_token, features?}
// and prints one JSON line per feature: {feature, ok, detail}. The same script is run against our
// provider and against npm `oidc-provider`; only drivers.mjs knows the difference.

import assert from 'node:assert/strict';

import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as client from 'openid-client';

import { Browser } from './browser.mjs';
import { answerDevice, authorize, drivers, signOut } from './drivers.mjs';

const options = JSON.parse(await new Response(process.stdin).text());
const driver = drivers[options.provider];
const browser = new Browser();
const configurations = new Map();

async function authenticationOf({ client_secret: secret, jwk, method }) {
  if (jwk) {
    const key = await jose.importJWK(jwk, jwk.alg);
    return client.PrivateKeyJwt({ key, kid: jwk.kid });
  }
  if (!secret) return client.None();
  return method === 'client_secret_post'
    ? client.ClientSecretPost(secret)
    : client.ClientSecretBasic(secret);
}

/** The client of that name, discovered (OpenID Connect Discovery 1.0). */
async function configured(name) {
  if (!configurations.has(name)) {
    const registered = options.clients[name];
    configurations.set(
      name,
      await client.discovery(
        new URL(options.issuer),
        registered.client_id,
        { id_token_signed_response_alg: registered.id_token_signed_response_alg ?? 'ES256' },
        await authenticationOf(registered),
        { execute: [client.allowInsecureRequests] },
      ),
    );
  }
  return configurations.get(name);
}

/** Authorization code with PKCE, state and nonce; `openid-client` checks the answers. */
async function signIn(name, { scope = 'openid profile email', jar = browser, ...more } = {}) {
  const config = await configured(name);
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const nonce = client.randomNonce();
  const request = client.buildAuthorizationUrl(config, {
    redirect_uri: options.redirect_uri,
    scope,
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  });
  const answer = await authorize(jar, driver, options.user, request, options.redirect_uri);
  const tokens = await client.authorizationCodeGrant(config, answer, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
    maxAge: more.max_age,
  });
  return { config, tokens, claims: tokens.claims(), answer };
}

async function refusal(promise) {
  return promise.then(
    () => assert.fail('was accepted'),
    (error) => {
      if (error.code !== 'OAUTH_RESPONSE_BODY_ERROR' && error.code !== 'OAUTH_AUTHORIZATION_RESPONSE_ERROR') {
        throw error;
      }
      return error;
    },
  );
}

const features = {
  async discovery() {
    const config = await configured('web');
    const metadata = config.serverMetadata();
    assert.equal(metadata.issuer, options.issuer);
    assert.ok(metadata.supportsPKCE('S256'));
    assert.equal(metadata.authorization_response_iss_parameter_supported, true);
    for (const name of [
      'authorization_endpoint',
      'token_endpoint',
      'userinfo_endpoint',
      'introspection_endpoint',
      'revocation_endpoint',
      'end_session_endpoint',
      'jwks_uri',
    ]) {
      assert.ok(metadata[name]?.startsWith(options.issuer), `${name} is ${metadata[name]}`);
    }
    return Object.keys(metadata).length;
  },

  async discovery_rfc8414() {
    const registered = options.clients.web;
    const config = await client.discovery(
      new URL(options.issuer),
      registered.client_id,
      undefined,
      await authenticationOf(registered),
      { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
    );
    assert.equal(config.serverMetadata().issuer, options.issuer);
  },

  async code_pkce() {
    const { config, tokens, claims, answer } = await signIn('web');
    assert.equal(answer.searchParams.get('iss'), options.issuer);
    assert.equal(tokens.token_type, 'bearer');
    assert.ok(tokens.expires_in > 0);
    assert.equal(claims.iss, options.issuer);
    assert.ok([claims.aud].flat().includes(options.clients.web.client_id));
    assert.ok(claims.sub);
    // Checked a second time against the published keys, as an app that stores ID tokens does.
    const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
    const { protectedHeader } = await jose.jwtVerify(tokens.id_token, keys, {
      issuer: options.issuer,
      audience: options.clients.web.client_id,
    });
    assert.equal(protectedHeader.alg, 'ES256');
    return { header: protectedHeader, claims };
  },

  async code_is_single_use() {
    const config = await configured('web');
    const verifier = client.randomPKCECodeVerifier();
    const request = client.buildAuthorizationUrl(config, {
      redirect_uri: options.redirect_uri,
      scope: 'openid',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    });
    const answer = await authorize(browser, driver, options.user, request, options.redirect_uri);
    const checks = { pkceCodeVerifier: verifier };
    await client.authorizationCodeGrant(config, answer, checks);
    const error = await refusal(client.authorizationCodeGrant(config, answer, checks));
    assert.equal(error.error, 'invalid_grant');
  },

  async single_sign_on() {
    const first = await signIn('web');
    const config = await configured('post');
    const verifier = client.randomPKCECodeVerifier();
    await signIn('post'); // consent may be asked here, once
    const request = client.buildAuthorizationUrl(config, {
      redirect_uri: options.redirect_uri,
      scope: 'openid profile email',
      prompt: 'none',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    });
    const answer = await browser.open(request, { until: options.redirect_uri });
    assert.equal(answer.status, 0, 'prompt=none showed a page');
    const tokens = await client.authorizationCodeGrant(config, answer.url, {
      pkceCodeVerifier: verifier,
    });
    assert.equal(tokens.claims().sub, first.claims.sub);
  },

  async max_age() {
    const { claims } = await signIn('web', { max_age: 3600 });
    assert.equal(typeof claims.auth_time, 'number');
  },

  async public_client() {
    const { claims } = await signIn('public');
    assert.ok(claims.sub);
  },

  async rs256_id_token() {
    const { tokens } = await signIn('rs256');
    assert.equal(jose.decodeProtectedHeader(tokens.id_token).alg, 'RS256');
  },

  async userinfo() {
    const { config, tokens, claims } = await signIn('web');
    const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
    assert.ok(info.email ?? info.preferred_username ?? info.name, JSON.stringify(info));
    return info;
  },

  async refresh_rotation() {
    const { config, tokens, claims } = await signIn('web');
    assert.ok(tokens.refresh_token, 'no refresh token');
    const second = await client.refreshTokenGrant(config, tokens.refresh_token);
    assert.notEqual(second.refresh_token, tokens.refresh_token);
    assert.notEqual(second.access_token, tokens.access_token);
    assert.equal(second.claims().sub, claims.sub);
    assert.equal(second.claims().auth_time, claims.auth_time);
    const third = await client.refreshTokenGrant(config, second.refresh_token);
    assert.ok(third.refresh_token && third.refresh_token !== second.refresh_token);
    await client.fetchUserInfo(config, third.access_token, claims.sub);
  },

  async refresh_reuse_ends_the_family() {
    const { config, tokens } = await signIn('web');
    const second = await client.refreshTokenGrant(config, tokens.refresh_token);
    const third = await client.refreshTokenGrant(config, second.refresh_token);
    const reused = await refusal(client.refreshTokenGrant(config, tokens.refresh_token));
    assert.equal(reused.error, 'invalid_grant');
    const newest = await refusal(client.refreshTokenGrant(config, third.refresh_token));
    assert.equal(newest.error, 'invalid_grant');
    assert.equal((await client.tokenIntrospection(config, third.access_token)).active, false);
  },

  async introspection() {
    const { config, tokens, claims } = await signIn('web');
    const facts = await client.tokenIntrospection(config, tokens.access_token);
    assert.equal(facts.active, true);
    assert.equal(facts.sub, claims.sub);
    assert.equal(facts.client_id, options.clients.web.client_id);
    assert.ok(facts.scope.split(' ').includes('openid'));
    assert.ok(facts.exp > Date.now() / 1000);
    const refresh = await client.tokenIntrospection(config, tokens.refresh_token);
    assert.equal(refresh.active, true);
    assert.equal((await client.tokenIntrospection(config, 'not-a-token')).active, false);
    return facts;
  },

  async revocation_of_an_access_token() {
    const { config, tokens, claims } = await signIn('web');
    await client.tokenRevocation(config, tokens.access_token);
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
    await assert.rejects(client.fetchUserInfo(config, tokens.access_token, claims.sub));
    await client.tokenRevocation(config, tokens.access_token); // RFC 7009 section 2.2: 200 again
  },

  async revocation_of_a_refresh_token() {
    const { config, tokens } = await signIn('web');
    await client.tokenRevocation(config, tokens.refresh_token, {
      token_type_hint: 'refresh_token',
    });
    const error = await refusal(client.refreshTokenGrant(config, tokens.refresh_token));
    assert.equal(error.error, 'invalid_grant');
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  },

  async client_credentials() {
    const config = await configured('service');
    const tokens = await client.clientCredentialsGrant(config, { scope: options.service_scope });
    assert.ok(tokens.access_token);
    assert.equal(tokens.refresh_token, undefined);
    const facts = await client.tokenIntrospection(config, tokens.access_token);
    assert.equal(facts.active, true);
    assert.equal(facts.client_id, options.clients.service.client_id);
    const wrong = await client.discovery(
      new URL(options.issuer),
      options.clients.service.client_id,
      undefined,
      client.ClientSecretBasic('not-the-secret'),
      { execute: [client.allowInsecureRequests] },
    );
    await client.clientCredentialsGrant(wrong).then(
      () => assert.fail('a wrong secret was accepted'),
      (error) => assert.equal(error.status ?? error.cause?.status, 401),
    );
  },

  async private_key_jwt() {
    const { config, tokens, claims } = await signIn('keyed');
    assert.ok(claims.sub);
    assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token);
    const own = await client.clientCredentialsGrant(config, { scope: options.service_scope });
    assert.equal((await client.tokenIntrospection(config, own.access_token)).active, true);
  },

  async jwt_access_token() {
    const { config, tokens, claims } = await signIn('jwt', {
      scope: `openid ${options.service_scope}`,
      ...options.jwt_request,
    });
    const request = new Request(options.api, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    const facts = await oauth.validateJwtAccessToken(config.serverMetadata(), request, options.api, {
      [oauth.allowInsecureRequests]: true,
    });
    assert.equal(facts.sub, claims.sub);
    assert.equal(facts.client_id, options.clients.jwt.client_id);
    return facts;
  },

  async device_grant() {
    const config = await configured('device');
    const asked = await client.initiateDeviceAuthorization(config, {
      scope: 'openid profile offline_access',
    });
    assert.match(asked.user_code, /^[A-Z]{4}-[A-Z]{4}$/);
    assert.ok(asked.verification_uri_complete.includes(asked.user_code));
    await answerDevice(new Browser(), driver, options.user, asked.verification_uri_complete, 'allow');
    // Approved already, so that one poll will do: nobody has to wait five seconds here.
    const tokens = await client.pollDeviceAuthorizationGrant(config, { ...asked, interval: 1 });
    const { sub } = tokens.claims();
    await client.fetchUserInfo(config, tokens.access_token, sub);
    const again = await client.refreshTokenGrant(config, tokens.refresh_token);
    await client.fetchUserInfo(config, again.access_token, sub);
    const used = await refusal(
      client.pollDeviceAuthorizationGrant(config, { ...asked, interval: 1 }),
    );
    assert.equal(used.error, 'invalid_grant');
  },

  async device_grant_denied() {
    const config = await configured('device');
    const asked = await client.initiateDeviceAuthorization(config, { scope: 'openid' });
    await answerDevice(new Browser(), driver, options.user, asked.verification_uri_complete, 'deny');
    const error = await refusal(
      client.pollDeviceAuthorizationGrant(config, { ...asked, interval: 1 }),
    );
    assert.equal(error.error, 'access_denied');
  },

  async dynamic_registration() {
    const metadata = {
      client_name: 'A stranger',
      redirect_uris: [options.redirect_uri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      // What it does with the secret it gets, unless told otherwise; RFC 7591 has another default.
      token_endpoint_auth_method: 'client_secret_post',
    };
    const register = (token) =>
      client.dynamicClientRegistration(new URL(options.issuer), metadata, undefined, {
        initialAccessToken: token,
        execute: [client.allowInsecureRequests],
      });
    await assert.rejects(register('not-a-token'));
    const config = await register(options.initial_access_token);
    configurations.set('registered', config);
    const { tokens, claims } = await signIn('registered');
    assert.equal(jose.decodeProtectedHeader(tokens.id_token).alg, 'RS256');
    const registered = config.clientMetadata();
    assert.ok([claims.aud].flat().includes(registered.client_id));
    const manage = (method, token, body) =>
      fetch(registered.registration_client_uri, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
      });
    const changed = await manage('PUT', registered.registration_access_token, {
      ...metadata,
      client_id: registered.client_id,
      client_secret: registered.client_secret,
      client_name: 'A friend',
    });
    const answer = await changed.json();
    assert.equal(changed.status, 200, JSON.stringify(answer));
    assert.equal(answer.client_name, 'A friend');
    const read = await manage('GET', answer.registration_access_token);
    assert.equal((await read.json()).client_name, 'A friend');
    // The one before it is not shown again: that would be a copy, and take both away.
    assert.equal((await manage('DELETE', answer.registration_access_token)).status, 204);
    await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { status: 401 });
  },

  async rp_initiated_logout() {
    const jar = new Browser();
    const { config, tokens } = await signIn('web', { jar });
    const state = client.randomState();
    const request = client.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: options.post_logout_redirect_uri,
      state,
    });
    const back = await signOut(jar, driver, request, options.post_logout_redirect_uri);
    assert.equal(back.searchParams.get('state'), state);
    const silent = client.buildAuthorizationUrl(config, {
      redirect_uri: options.redirect_uri,
      scope: 'openid',
      prompt: 'none',
      state,
      code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
      code_challenge_method: 'S256',
    });
    const answer = await jar.open(silent, { until: options.redirect_uri });
    assert.equal(answer.status, 0, 'prompt=none showed a page');
    const error = await refusal(
      client.authorizationCodeGrant(config, answer.url, { expectedState: state }),
    );
    assert.equal(error.error, 'login_required');
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
    const refresh = await refusal(client.refreshTokenGrant(config, tokens.refresh_token));
    assert.equal(refresh.error, 'invalid_grant');
  },
};

for (const feature of options.features ?? Object.keys(features)) {
  let line;
  try {
    line = { feature, ok: true, detail: (await features[feature]()) ?? null };
  } catch (error) {
    const causes = [];
    for (let next = error; next; next = next.cause) {
      causes.push(next instanceof Error ? `${next.name}: ${next.message}` : JSON.stringify(next));
    }
    const place = error.stack?.match(/openid_client\.mjs:\d+/)?.[0];
    line = { feature, ok: false, detail: `${causes.join(' <- ')} (${place})` };
  }
  console.log(JSON.stringify(line));
}
