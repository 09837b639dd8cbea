<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
</head>
<body style="margin:0;padding:24px 16px;background:#f6f7f9;color:#1c2024;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif">
<div style="max-width:560px;margin:0 auto;padding:24px;overflow-wrap:anywhere;word-break:break-word;background:#ffffff;border:1px solid #e3e6ea;border-radius:8px">
{% block body %}{% endblock %}
</div>
<p style="max-width:560px;margin:16px auto 0;color:#60646c;font-size:13px">Ampout wrote this to the owner of the account {{ account_id }}.</p>
</body>
</html>
