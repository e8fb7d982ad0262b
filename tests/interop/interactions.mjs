// The least a real deployment of `oidc-provider` needs to sign people in: one login page.
//
// Used by the benchmark, where the development pages (which print the whole request for debugging)
// would make the control look dearer than it is.

async function formOf(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

/** Adds the login page of every interaction to the provider. */
export function minimalInteractions(provider) {
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    if (ctx.method === 'GET') {
      const { params } = await provider.interactionDetails(ctx.req, ctx.res);
      ctx.type = 'html';
      ctx.set('cache-control', 'no-store');
      ctx.body = `<!doctype html><title>Sign in</title><form method="post">
<p>Sign in to go on to ${encodeURIComponent(params.client_id)}</p>
<input name="login" autocomplete="username"><input name="password" type="password">
<button type="submit">Sign in</button></form>`;
      return undefined;
    }
    const form = await formOf(ctx.req);
    ctx.respond = false;
    return provider.interactionFinished(ctx.req, ctx.res, {
      login: { accountId: form.get('login') },
    });
  });
}

/** Consent that is taken for granted, as for an organisation's own apps. */
export function rememberedGrant(scopes, api) {
  return async (ctx) => {
    const { provider, session, client } = ctx.oidc;
    const known = ctx.oidc.result?.consent?.grantId || session.grantIdFor(client.clientId);
    if (known) return provider.Grant.find(known);
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(scopes.join(' '));
    grant.addResourceScope(api, 'api:read');
    await grant.save();
    return grant;
  };
}
