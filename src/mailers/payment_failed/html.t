{% extends "layout.html.t" %}
{% block title %}A payment failed{% endblock %}
{% block body %}<h1 style="margin:0 0 16px;font-size:20px">A payment for your plan failed</h1>
<p>The invoice <strong>{{ invoice }}</strong> for your plan ({{ plan }}) could not be paid. The plan stays while the payment is tried again. If it fails for good, the account goes on with the free plan, and what is above its limit waits.</p>
<p>What to do next: open the billing page, and look at the card.</p>
<p><code>POST {{ public_url }}/billing/portal</code></p>{% endblock %}
