{% extends "layout.html.t" %}
{% block title %}Welcome to Ampout{% endblock %}
{% block body %}<h1 style="margin:0 0 16px;font-size:20px">Your account is ready</h1>
<p>It is on the free plan; <code>GET {{ public_url }}/plans</code> shows what each plan allows.</p>
<p>Your API key was in the answer to the signup, and nowhere else. Keep it somewhere safe; we cannot show it again.</p>
<p>What to do next:</p>
<ol>
<li>Import a few contacts: <code>POST {{ public_url }}/contact_imports</code></li>
<li>Make a campaign with a mailbox to send from: <code>POST {{ public_url }}/campaigns</code></li>
<li>Send yourself a test: <code>POST {{ public_url }}/campaigns/&lt;id&gt;/test_send</code></li>
<li>Enroll the contacts and dispatch the campaign.</li>
</ol>
<p>Every call is described in the <a href="{{ public_url }}/docs">reference</a>.</p>
<p style="color:#60646c">Did you not sign up? Then somebody typed your address by mistake. There is nothing that you need to do.</p>{% endblock %}
